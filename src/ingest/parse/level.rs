//! Words for levels, mapped to the six of the contract.

/// The level that a word means, in any case; `None` where it is none of the known ones.
pub fn known(word: &[u8]) -> Option<&'static str> {
    let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
    // The common ones first, and by length, as this runs for every line.
    match word.len() {
        1 => letter(word[0]),
        4 if is("INFO") => Some("INFO"),
        4 if is("WARN") => Some("WARNING"),
        4 if is("CRIT") => Some("CRITICAL"),
        5 if is("DEBUG") => Some("DEBUG"),
        5 if is("ERROR") => Some("ERROR"),
        5 if is("TRACE") => Some("TRACE"),
        5 if is("FATAL") || is("ALERT") || is("EMERG") || is("PANIC") => Some("CRITICAL"),
        7 if is("WARNING") => Some("WARNING"),
        8 if is("CRITICAL") => Some("CRITICAL"),
        6 if is("NOTICE") => Some("INFO"),
        11 if is("INFORMATION") => Some("INFO"),
        3 if is("ERR") => Some("ERROR"),
        // The short words of zerolog, winston's kin and java.util.logging.
        3 if is("INF") => Some("INFO"),
        3 if is("WRN") => Some("WARNING"),
        3 if is("DBG") => Some("DEBUG"),
        3 if is("TRC") => Some("TRACE"),
        3 if is("FTL") || is("PNC") => Some("CRITICAL"),
        6 if is("SEVERE") => Some("ERROR"),
        6 if is("CONFIG") || is("DPANIC") => Some(if is("CONFIG") { "INFO" } else { "CRITICAL" }),
        4 if is("FINE") => Some("DEBUG"),
        5 if is("FINER") => Some("TRACE"),
        6 if is("FINEST") => Some("TRACE"),
        9 if is("EMERGENCY") => Some("CRITICAL"),
        _ => None,
    }
}

/// Levels by their first letter, as Android, klog and others write them.
fn letter(letter: u8) -> Option<&'static str> {
    Some(match letter {
        b'T' | b'V' => "TRACE",
        b'D' => "DEBUG",
        b'I' | b'N' => "INFO",
        b'W' => "WARNING",
        b'E' => "ERROR",
        b'F' | b'C' => "CRITICAL",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_many_loggers_are_mapped() {
        let check = |word: &str, expected: Option<&str>| assert_eq!(known(word.as_bytes()), expected, "{word}");
        check("INFO", Some("INFO"));
        check("info", Some("INFO"));
        check("Warn", Some("WARNING"));
        check("warning", Some("WARNING"));
        check("fatal", Some("CRITICAL"));
        check("notice", Some("INFO"));
        check("err", Some("ERROR"));
        check("E", Some("ERROR"));
        check("e", None);
        check("WRN", Some("WARNING"));
        check("severe", Some("ERROR"));
        check("FINEST", Some("TRACE"));
        check("SUCCESS", None);
        check("", None);
    }
}
