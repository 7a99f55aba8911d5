//! Names of the formats that the parsers know: what a line was taken for, and why it stayed whole where it was taken for
//! nothing.

/// What a line was taken for. A parser notes it in passing; only who asks for it turns it into words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Format {
    /// No format fits: the line is its own message.
    #[default]
    Plain,
    /// It begins as JSON does and is none.
    NotJson,
    /// What it holds cannot be searched: too long, too deep, a name twice.
    Unfit,
    /// A piece of a line over `max_line`.
    Piece,
    /// Nothing was to be read out of it.
    Raw,
    Json,
    JsonBehind,
    Docker,
    Cri,
    PythonDashed,
    PythonColons,
    PythonLeveled,
    CloudInit,
    Vllm,
    Celery,
    Flask,
    Loguru,
    Barred,
    Structlog,
    Logfmt,
    Syslog,
    Klog,
    GoLog,
    Zap,
    Zerolog,
    EnvLogger,
    Ruby,
    Dotnet,
    Serilog,
    Spring,
    Logback,
    Spark,
    JavaUtil,
    Access,
    Nginx,
    Apache,
    Postgres,
    Mysql,
    Redis,
    /// A head that many languages share.
    Head,
    Regex,
    Traceback,
}

impl Format {
    /// All of them; the number of each is its place.
    pub const ALL: &[Format] = &[
        Format::Plain,
        Format::NotJson,
        Format::Unfit,
        Format::Piece,
        Format::Raw,
        Format::Json,
        Format::JsonBehind,
        Format::Docker,
        Format::Cri,
        Format::PythonDashed,
        Format::PythonColons,
        Format::PythonLeveled,
        Format::CloudInit,
        Format::Vllm,
        Format::Celery,
        Format::Flask,
        Format::Loguru,
        Format::Barred,
        Format::Structlog,
        Format::Logfmt,
        Format::Syslog,
        Format::Klog,
        Format::GoLog,
        Format::Zap,
        Format::Zerolog,
        Format::EnvLogger,
        Format::Ruby,
        Format::Dotnet,
        Format::Serilog,
        Format::Spring,
        Format::Logback,
        Format::Spark,
        Format::JavaUtil,
        Format::Access,
        Format::Nginx,
        Format::Apache,
        Format::Postgres,
        Format::Mysql,
        Format::Redis,
        Format::Head,
        Format::Regex,
        Format::Traceback,
    ];

    /// Its name, in figures and summaries.
    pub const fn word(self) -> &'static str {
        match self {
            Format::Plain => "plain",
            Format::NotJson => "not_json",
            Format::Unfit => "unfit",
            Format::Piece => "piece",
            Format::Raw => "raw",
            Format::Json => "json",
            Format::JsonBehind => "json_behind_prefix",
            Format::Docker => "docker_json_file",
            Format::Cri => "cri",
            Format::PythonDashed => "python",
            Format::PythonColons => "python_basic",
            Format::PythonLeveled => "uvicorn",
            Format::CloudInit => "cloud_init",
            Format::Vllm => "vllm",
            Format::Celery => "celery",
            Format::Flask => "flask",
            Format::Loguru => "loguru",
            Format::Barred => "bars",
            Format::Structlog => "structlog",
            Format::Logfmt => "logfmt",
            Format::Syslog => "syslog",
            Format::Klog => "klog",
            Format::GoLog => "go_log",
            Format::Zap => "zap",
            Format::Zerolog => "zerolog",
            Format::EnvLogger => "env_logger",
            Format::Ruby => "ruby",
            Format::Dotnet => "dotnet",
            Format::Serilog => "serilog",
            Format::Spring => "spring_boot",
            Format::Logback => "logback",
            Format::Spark => "spark",
            Format::JavaUtil => "java_util_logging",
            Format::Access => "access_log",
            Format::Nginx => "nginx_error",
            Format::Apache => "apache_error",
            Format::Postgres => "postgresql",
            Format::Mysql => "mysql",
            Format::Redis => "redis",
            Format::Head => "head",
            Format::Regex => "regex",
            Format::Traceback => "traceback",
        }
    }

    /// What it looks like, or what it means that a line is of none.
    pub const fn layout(self) -> &'static str {
        match self {
            Format::Plain => "no format fits: the line is its own message",
            Format::NotJson => "it begins as JSON does and is none: the line is its own message",
            Format::Unfit => "its values are too long or too deep, or a name stands twice: kept as text",
            Format::Piece => "a piece of a line over max_line",
            Format::Raw => "nothing is read out of a line",
            Format::Json => "an object",
            Format::JsonBehind => "words, then an object",
            Format::Docker => "a line of Docker's json-file",
            Format::Cri => "a line of containerd or CRI-O",
            Format::PythonDashed => "asctime - name - level - message",
            Format::PythonColons => "level:name:message",
            Format::PythonLeveled => "level:    message",
            Format::CloudInit => "asctime - file.py[level]: message",
            Format::Vllm => "level month-day time [file:line] message",
            Format::Celery => "[time: level/process] message",
            Format::Flask => "[time] level in module: message",
            Format::Loguru => "time | level | module:function:line - message",
            Format::Barred => "time | level | name | message",
            Format::Structlog => "time [level] event key=value",
            Format::Logfmt => "key=value from end to end",
            Format::Syslog => "time host program[pid]: message, or <priority> before it",
            Format::Klog => "Lmmdd time thread file:line] message",
            Format::GoLog => "yyyy/mm/dd time message",
            Format::Zap => "time, level, name and message parted by tabs",
            Format::Zerolog => "clock LVL message key=value",
            Format::EnvLogger => "[time level module] message",
            Format::Ruby => "L, [time #pid] level -- program: message",
            Format::Dotnet => "level: category[event]",
            Format::Serilog => "[clock LVL] message",
            Format::Spring => "time level pid --- [thread] logger : message",
            Format::Logback => "clock [thread] level logger - message",
            Format::Spark => "yy/mm/dd time level logger: message",
            Format::JavaUtil => "date class method, then level: message",
            Format::Access => "host ident user [time] \"request\" status bytes",
            Format::Nginx => "time [level] pid#tid: message",
            Format::Apache => "[time] [module:level] [pid …] message",
            Format::Postgres => "time [pid] session level:  message",
            Format::Mysql => "time thread [level] [code] [subsystem] message",
            Format::Redis => "pid:role time sign message",
            Format::Head => "a time or a level, what follows it, and a message",
            Format::Regex => "the pattern of the source",
            Format::Traceback => "an exception with its stack",
        }
    }

    /// Whether something of the line was recognised, or nothing was to be.
    pub const fn is_recognised(self) -> bool {
        !matches!(self, Format::Plain | Format::NotJson | Format::Unfit | Format::Piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_its_number_and_a_word_of_its_own() {
        for (index, format) in Format::ALL.iter().enumerate() {
            assert_eq!(*format as usize, index, "{format:?}");
            assert_eq!(Format::ALL.iter().filter(|other| other.word() == format.word()).count(), 1, "{format:?}");
            assert!(!format.layout().is_empty());
        }
    }
}
