//! Templates to text. It knows lines and words, nothing of Azure or the command line.
//!
//! - A line that begins with `@NAME` and a space stays, without the two, where the choice NAME is made, and goes where not.
//! - A line that is `@NAME` alone becomes the block NAME.
//! - `{NAME}` becomes the word NAME.

/// What a template is filled with.
#[derive(Debug, Default)]
pub(super) struct Filling {
    /// Name of each choice, and whether it is made.
    pub choices: Vec<(&'static str, bool)>,
    /// Whole lines without the last line's end.
    pub blocks: Vec<(&'static str, String)>,
    pub words: Vec<(&'static str, String)>,
}

impl Filling {
    /// The text of a template; what nobody fills stays as it is.
    pub(super) fn fill(&self, template: &str) -> String {
        let mut text = String::with_capacity(template.len() * 2);
        for line in template.lines() {
            if let Some(line) = self.line(line) {
                text.push_str(line);
                text.push('\n');
            }
        }
        for (name, word) in &self.words {
            text = text.replace(&format!("{{{name}}}"), word);
        }
        text
    }

    /// `None`: the line goes.
    fn line<'a>(&'a self, line: &'a str) -> Option<&'a str> {
        let Some(marked) = line.strip_prefix('@') else { return Some(line) };
        let (name, rest) = marked.split_once(' ').unwrap_or((marked, ""));
        if let Some((_, is_made)) = self.choices.iter().find(|(choice, _)| *choice == name) {
            return is_made.then_some(rest);
        }
        Some(self.blocks.iter().find(|(block, _)| *block == name).map_or(line, |(_, block)| block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_blocks_and_words_are_filled_in_and_all_else_stays() {
        let template = "a {x}\n@one   b {x}\n@two c\n@one\n@block\n@param d(${y})\n";
        let filling = Filling {
            choices: vec![("one", true), ("two", false)],
            blocks: vec![("block", "e\nf".to_owned())],
            words: vec![("x", "X".to_owned())],
        };
        assert_eq!(filling.fill(template), "a X\n  b X\n\ne\nf\n@param d(${y})\n");
    }
}
