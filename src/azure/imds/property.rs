//! One value of the VM that a configuration asks for: `tag/NAME`, or `compute/NAME` as IMDS's paths have it. It asks nobody.

use std::fmt;

use super::document::Instance;

/// What a configuration writes before a property: `"imds:tag/RunID"`.
pub const PREFIX: &str = "imds:";

/// Azure's own bound of a tag's name.
const TAG_NAME_MAX_CHARS: usize = 512;

/// A property of the VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// The value of the tag of this name.
    Tag(String),
    Compute(Compute),
}

/// A field of IMDS's `compute`, by its name there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compute {
    Name,
    VmId,
    ResourceId,
    Location,
    ResourceGroupName,
    SubscriptionId,
    VmScaleSetName,
    Zone,
    VmSize,
    AzEnvironment,
    Priority,
}

/// Why a text names no property.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    #[error("names no tag of the VM")]
    NoTag,
    #[error("names a tag of more than {TAG_NAME_MAX_CHARS} characters, which Azure does not have")]
    TagTooLong,
    #[error("is nothing that is read from IMDS")]
    Unknown,
}

impl Compute {
    /// Each field by the name that IMDS has for it.
    pub const NAMES: [(&'static str, Compute); 11] = [
        ("name", Compute::Name),
        ("vmId", Compute::VmId),
        ("resourceId", Compute::ResourceId),
        ("location", Compute::Location),
        ("resourceGroupName", Compute::ResourceGroupName),
        ("subscriptionId", Compute::SubscriptionId),
        ("vmScaleSetName", Compute::VmScaleSetName),
        ("zone", Compute::Zone),
        ("vmSize", Compute::VmSize),
        ("azEnvironment", Compute::AzEnvironment),
        ("priority", Compute::Priority),
    ];

    fn of(self, instance: &Instance) -> &str {
        match self {
            Compute::Name => &instance.name,
            Compute::VmId => &instance.vm_id,
            Compute::ResourceId => &instance.resource_id,
            Compute::Location => &instance.location,
            Compute::ResourceGroupName => &instance.resource_group_name,
            Compute::SubscriptionId => &instance.subscription_id,
            Compute::VmScaleSetName => &instance.vm_scale_set_name,
            Compute::Zone => &instance.zone,
            Compute::VmSize => &instance.vm_size,
            Compute::AzEnvironment => &instance.az_environment,
            Compute::Priority => &instance.priority,
        }
    }
}

impl Property {
    /// Reads what stands behind [`PREFIX`].
    ///
    /// # Errors
    /// [`PropertyError`]: the end of a sentence about the text.
    pub fn parse(text: &str) -> Result<Self, PropertyError> {
        if let Some(name) = text.strip_prefix("tag/") {
            return match name.chars().count() {
                0 => Err(PropertyError::NoTag),
                1..=TAG_NAME_MAX_CHARS => Ok(Property::Tag(name.to_owned())),
                _ => Err(PropertyError::TagTooLong),
            };
        }
        let name = text.strip_prefix("compute/").ok_or(PropertyError::Unknown)?;
        let found = Compute::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, field)| Property::Compute(*field)).ok_or(PropertyError::Unknown)
    }

    /// Its value; empty where the VM is in none (a zone, a scale set). `None`: there is no such tag.
    pub fn of<'a>(&self, instance: &'a Instance) -> Option<&'a str> {
        match self {
            Property::Tag(name) => instance.tag(name),
            Property::Compute(field) => Some(field.of(instance)),
        }
    }
}

/// As it is written behind [`PREFIX`].
impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Property::Tag(name) => write!(f, "tag/{name}"),
            Property::Compute(field) => {
                let name = Compute::NAMES.iter().find(|(_, known)| known == field).map_or("", |(name, _)| name);
                write!(f, "compute/{name}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tag;
    use super::*;

    #[test]
    fn a_property_is_a_tag_or_a_field_by_its_name_in_imds() {
        let check = |text: &str, expected: Result<Property, PropertyError>| {
            let property = Property::parse(text);
            if let Ok(property) = &property {
                assert_eq!(property.to_string(), text);
            }
            assert_eq!(property, expected, "{text}");
        };
        let tag = |name: &str| Ok(Property::Tag(name.to_owned()));
        check("tag/RunID", tag("RunID"));
        check("tag/cost center/x:y", tag("cost center/x:y"));
        check(&format!("tag/{}", "ä".repeat(512)), tag(&"ä".repeat(512)));
        check(&format!("tag/{}", "ä".repeat(513)), Err(PropertyError::TagTooLong));
        check("tag/", Err(PropertyError::NoTag));
        check("tag", Err(PropertyError::Unknown));
        check("Tag/x", Err(PropertyError::Unknown));
        check("", Err(PropertyError::Unknown));
        check("location", Err(PropertyError::Unknown));
        check("compute/", Err(PropertyError::Unknown));
        check("compute/Location", Err(PropertyError::Unknown));
        for (name, field) in Compute::NAMES {
            check(&format!("compute/{name}"), Ok(Property::Compute(field)));
        }
    }

    #[test]
    fn each_field_has_the_value_of_its_own_name() {
        let fields: serde_json::Map<_, _> =
            Compute::NAMES.iter().map(|(name, _)| ((*name).to_owned(), format!("the {name}").into())).collect();
        let body = serde_json::json!({ "compute": fields }).to_string();
        let instance = Instance::parse(body.as_bytes()).expect("an instance");
        for (name, field) in Compute::NAMES {
            assert_eq!(Property::Compute(field).of(&instance), Some(format!("the {name}").as_str()));
        }
    }

    #[test]
    fn a_tag_that_is_not_there_is_another_thing_than_an_empty_one() {
        let empty = Tag { name: "empty".into(), value: String::new() };
        let instance = Instance { tags_list: vec![empty], ..Instance::default() };
        assert_eq!(Property::Tag("Empty".into()).of(&instance), Some(""));
        assert_eq!(Property::Tag("none".into()).of(&instance), None);
        assert_eq!(Property::Compute(Compute::Zone).of(&instance), Some(""));
    }
}
