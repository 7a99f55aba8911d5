//! Where this machine is: on Azure, and then what IMDS says of it. Asked once, at a start, and never for long.
//! It keeps nothing and decides nothing about records.
//!
//! The order is what makes a start quick everywhere else: the tag of the chassis is a file, so no packet is sent where it
//! is not Azure's; then a document of IMDS that can be read, never an address that answers.

use std::path::Path;
use std::time::Duration;

use url::Url;

use super::imds::property::{PREFIX, Property, PropertyError};
use super::imds::{
    CHASSIS_ASSET_TAG_PATH, Client, INSTANCE_RETRY_FOR, ImdsError, Instance, Patience, chassis_is_azure,
};

/// Longest value of a column that is the same for every record, in bytes: it stands in each. The longest value of a tag has
/// 256 characters.
pub const VALUE_MAX_BYTES: usize = 1024;

/// How long a start waits for an IMDS that is not ready, for the name of the VM alone.
pub const NAME_REFUSED_FOR: Duration = Duration::from_secs(10);

/// How long a start waits for an IMDS that does not answer, where columns are to come from there.
pub const COLUMNS_UNREACHABLE_FOR: Duration = Duration::from_secs(5);

/// A value of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// As it was given; may be empty.
    Text(String),
    /// What IMDS says of the VM: `"imds:tag/RunID"`.
    Imds(Property),
}

impl Value {
    /// Reads a value of the configuration.
    ///
    /// # Errors
    /// It begins with [`PREFIX`] and then names no property.
    pub fn parse(text: &str) -> Result<Self, PropertyError> {
        match text.strip_prefix(PREFIX) {
            Some(property) => Property::parse(property).map(Value::Imds),
            None => Ok(Value::Text(text.to_owned())),
        }
    }

    pub fn is_empty(&self) -> bool {
        matches!(self, Value::Text(text) if text.is_empty())
    }
}

impl Default for Value {
    fn default() -> Self {
        Value::Text(String::new())
    }
}

/// How Azure is recognised and asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where IMDS is.
    pub imds: Url,
    /// It is Azure, whatever the chassis says.
    pub certain: bool,
}

/// What depends on the answer, and with that how long it is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Columns of every record: without them nobody finds the records.
    Columns,
    /// The VM's name, for which the host's stands in.
    Name,
    /// Nothing but whether the state folder is a copy.
    Nothing,
}

impl Need {
    pub fn patience(self) -> Patience {
        let (refused, unreachable) = match self {
            Need::Columns => (INSTANCE_RETRY_FOR, COLUMNS_UNREACHABLE_FOR),
            Need::Name => (NAME_REFUSED_FOR, Duration::ZERO),
            Need::Nothing => (Duration::ZERO, Duration::ZERO),
        };
        Patience { refused, unreachable }
    }
}

/// Where this machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    Azure(Box<Instance>),
    /// It should be Azure, and IMDS does not say; `reason` is a sentence.
    Silent {
        reason: String,
    },
    /// Not on Azure, by its chassis.
    Elsewhere,
}

/// Finds out where this machine is; takes as long as `need` is worth, and nothing where it is not Azure's.
pub async fn find(options: &Options, need: Need, user_agent: &str) -> Whereabouts {
    find_by(Path::new(CHASSIS_ASSET_TAG_PATH), options, need, user_agent).await
}

/// The same with the chassis' tag in this file.
async fn find_by(chassis: &Path, options: &Options, need: Need, user_agent: &str) -> Whereabouts {
    if !options.certain && !chassis_is_azure(chassis) {
        return Whereabouts::Elsewhere;
    }
    let silent = |reason: String| Whereabouts::Silent { reason };
    let client = match Client::new(options.imds.clone(), user_agent) {
        Ok(client) => client,
        Err(error) => return silent(error.to_string()),
    };
    match client.instance_within(need.patience()).await {
        Ok(instance) => Whereabouts::Azure(Box::new(instance)),
        Err(error @ ImdsError::NotAzure { .. }) if options.certain => {
            silent(format!("{error}; teardown.scheduled_events = \"on\" says that this is Azure"))
        }
        Err(error) => silent(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::imds::AZURE_CHASSIS_ASSET_TAG;
    use super::*;

    #[test]
    fn a_value_is_itself_or_a_property() {
        let check = |text: &str, expected: Value| assert_eq!(Value::parse(text), Ok(expected), "{text}");
        check("", Value::default());
        check("42", Value::Text("42".into()));
        check("my imds:tag/x", Value::Text("my imds:tag/x".into()));
        check("imds:tag/x", Value::Imds(Property::Tag("x".into())));
        assert_eq!(Value::parse("imds:x"), Err(PropertyError::Unknown));
        assert_eq!(Value::parse("imds:tag/"), Err(PropertyError::NoTag));
        assert!(Value::default().is_empty() && !Value::Imds(Property::Tag("x".into())).is_empty());
    }

    #[tokio::test]
    async fn only_the_chassis_or_the_configuration_makes_it_worth_a_packet() {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("non-blocking");
        let address = listener.local_addr().expect("an address");
        // Whoever connects is not answered; the time of that is bounded, not waited for here.
        let check = async |tag: &str, certain: bool, is_asked: bool| {
            let chassis = folder.path().join("tag");
            std::fs::write(&chassis, tag).expect("a file");
            let options = Options { imds: Url::parse(&format!("http://{address}")).expect("a URL"), certain };
            let found = find_by(&chassis, &options, Need::Nothing, "logferry-test");
            let found = tokio::time::timeout(Duration::from_millis(300), found).await;
            assert_eq!(found.ok(), (!is_asked).then_some(Whereabouts::Elsewhere), "{tag} {certain}");
            assert_eq!(listener.accept().is_ok(), is_asked, "{tag} {certain}");
        };
        check("Amazon EC2", false, false).await;
        check("", false, false).await;
        check(AZURE_CHASSIS_ASSET_TAG, false, true).await;
        check("Amazon EC2", true, true).await;
    }

    #[test]
    fn columns_are_waited_for_longer_than_a_name_and_nothing_holds_a_start_up_for_two_minutes() {
        let most = |need: Need| {
            let Patience { refused, unreachable } = need.patience();
            refused.max(unreachable) + super::super::imds::REQUEST_TIMEOUT
        };
        assert!(most(Need::Nothing) < most(Need::Name) && most(Need::Name) < most(Need::Columns));
        assert!(most(Need::Columns) < Duration::from_secs(120));
    }
}
