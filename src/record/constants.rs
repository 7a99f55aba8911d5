//! The columns that are the same for every record of one origin.

use super::json;

/// Columns of an origin, in order, and their JSON members, encoded once.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Constants {
    columns: Vec<(String, String)>,
    members: Vec<u8>,
}

impl Constants {
    /// Keeps the first value of each name; empty values are left out.
    pub fn new(columns: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut constants = Constants::default();
        for (name, value) in columns {
            if value.is_empty() || constants.get(&name).is_some() {
                continue;
            }
            json::key(&mut constants.members, 0, &name);
            json::string(&mut constants.members, value.as_bytes());
            constants.columns.push((name, value));
        }
        constants
    }

    /// Reads back what [`Constants::members`] gave; members that are no strings are left out.
    pub fn from_members(members: &[u8]) -> Self {
        let mut json = Vec::with_capacity(members.len() + 2);
        json.push(b'{');
        json.extend_from_slice(members);
        json.push(b'}');
        let columns: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&json).unwrap_or_default();
        Constants::new(columns.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))))
    }

    /// The value of a column, if the origin has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// `"RunID":"42","VMName":"vm-7"`: JSON members without braces; empty where there is no column.
    pub fn members(&self) -> &[u8] {
        &self.members
    }

    /// Name and value of each column, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// RunID of manifests and index names; empty where the origin has none.
    pub fn run_id(&self) -> &str {
        self.get("RunID").unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_wins_and_empty_ones_are_left_out() {
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        let constants =
            Constants::new([pair("TaskID", ""), pair("RunID", "a\"b"), pair("RunID", "c"), pair("TaskID", "7")]);
        assert_eq!(constants.members(), br#""RunID":"a\"b","TaskID":"7""#);
        assert_eq!(constants.get("RunID"), Some("a\"b"));
        assert_eq!(constants.get("VMName"), None);
        assert_eq!(Constants::from_members(constants.members()), constants);
    }
}
