//! The container that we run in ourselves, whose log we write and must not read.
//!
//! What tells its id, the best first: our control group, where its path shows; the files that an engine mounts into a
//! container out of the folder that it keeps for it; the host name. A container that shares the network of another one (a
//! sidecar with `network_mode: service:app`) has the files and the host name of that one: which of them we are is told by
//! the layer of the file system that we write to, which the engine names for each.

use bollard::models::{ContainerInspectResponse, ContainerSummary};

use super::engine::{Engine, EngineError};

/// Digits of a container's id.
const ID_DIGITS: usize = 64;

/// Digits of an id in a host name.
const SHORT_ID_DIGITS: usize = 12;

/// Files that engines mount into a container; on the machine itself they are no mounts.
const MOUNTED: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// What is known of our own container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    id: Option<String>,
    /// Ours, or that of the container whose network we share.
    mounted: Option<String>,
    hostname: Option<String>,
    /// Folder of the layer that we write to, as an engine names it.
    layer: Option<String>,
}

impl Own {
    /// Out of `/proc/self` and `/etc/hostname`; knows nothing where they cannot be read.
    pub fn read() -> Own {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        Own::new(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"), &read("/etc/hostname"))
    }

    pub(super) fn new(cgroup: &str, mountinfo: &str, hostname: &str) -> Own {
        let hostname = hostname.trim();
        let is_short_id = hostname.len() == SHORT_ID_DIGITS && is_hex(hostname);
        Own {
            id: cgroup.lines().find_map(last_id).map(str::to_owned),
            mounted: mountinfo.lines().find_map(mounted_id).map(str::to_owned),
            hostname: is_short_id.then(|| hostname.to_owned()),
            layer: mountinfo.lines().filter_map(layer).next_back().map(str::to_owned),
        }
    }

    /// True for the id of our own container.
    pub fn is(&self, id: &str) -> bool {
        match (self.id.as_ref().or(self.mounted.as_ref()), &self.hostname) {
            (Some(own), _) => own == id,
            (None, Some(hostname)) => id.starts_with(hostname.as_str()),
            (None, None) => false,
        }
    }

    /// Asks the engine whether we share another container's network, where nothing else tells who we are.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn settle(&mut self, engine: &Engine) -> Result<(), EngineError> {
        let (None, Some(mounted), Some(layer)) = (&self.id, &self.mounted, &self.layer) else { return Ok(()) };
        // What the engine does not have is a container of another one: that of a machine in a container.
        let Some(found) = engine.inspect(mounted).await? else { return Ok(()) };
        let mut own = (layer_of(&found).is_none_or(|found| found == layer)).then(|| mounted.clone());
        if own.is_none() {
            for guest in engine.list().await?.iter().filter(|listed| shares_network(listed, mounted)) {
                let Some(id) = &guest.id else { continue };
                let guest = engine.inspect(id).await?;
                if guest.as_ref().and_then(layer_of).is_some_and(|found| found == layer) {
                    own = Some(id.clone());
                }
            }
            // In any case not the container whose network it is.
            self.mounted = None;
            self.hostname = None;
        }
        self.id = own;
        Ok(())
    }
}

fn shares_network(listed: &ContainerSummary, with: &str) -> bool {
    let mode = listed.host_config.as_ref().and_then(|config| config.network_mode.as_deref());
    mode.and_then(|mode| mode.strip_prefix("container:")) == Some(with)
}

fn layer_of(inspected: &ContainerInspectResponse) -> Option<&str> {
    inspected.graph_driver.as_ref()?.data.get("UpperDir").map(String::as_str)
}

/// The id at the end of a control group's path: `/docker/ID`, `/system.slice/docker-ID.scope`, `/machine.slice/libpod-ID.scope`.
fn last_id(line: &str) -> Option<&str> {
    let name = line.rsplit('/').next()?;
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit('-').next()?;
    is_id(id).then_some(id)
}

/// Fields of a line: id, parent, device, root within that file system, mount point.
fn mounted_id(line: &str) -> Option<&str> {
    let mut fields = line.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let id = root.split('/').find(|part| is_id(part))?;
    (MOUNTED.contains(&point) && root.contains("containers/")).then_some(id)
}

/// Folder that changes to our root go to.
fn layer(line: &str) -> Option<&str> {
    let (mount, options) = line.split_once(" - overlay ")?;
    let is_root = mount.split(' ').nth(4) == Some("/");
    let options = options.rsplit(' ').next().filter(|_| is_root)?;
    options.split(',').find_map(|option| option.strip_prefix("upperdir="))
}

fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && is_hex(text)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "67a039d84fbef3d25e49b6664f6e88aa652caac310f264d2587d9a253c50510b";

    #[test]
    fn our_own_container_is_known_by_its_control_group_its_mounts_or_its_host_name() {
        let inside = format!(
            "622 611 0:52 / /proc rw - proc proc rw\n\
             731 711 254:0 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/vda rw\n"
        );
        let outside = format!("90 22 0:44 / /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm rw\n");
        let other = ID.replace('6', "7");
        let check = |cgroup: &str, mountinfo: &str, hostname: &str, id: &str, expected: bool| {
            assert_eq!(Own::new(cgroup, mountinfo, hostname).is(id), expected, "{cgroup} {mountinfo} {hostname}");
        };
        check("", &inside, "web", ID, true);
        check("", &inside, "web", "67a0", false);
        check("", &outside, "vm-7", ID, false);
        check("", "", "67a039d84fbe\n", ID, true);
        check("", "", "67a039d84fbf", ID, false);
        check("", "", "", ID, false);
        for path in [
            format!("9:name=systemd:/docker/{ID}"),
            format!("0::/docker/{ID}\n"),
            format!("0::/system.slice/docker-{ID}.scope"),
            format!("0::/machine.slice/libpod-{ID}.scope"),
            format!("0::/\n1:cpu:/kubepods/pod7/{ID}"),
        ] {
            check(&path, "", "vm-7", ID, true);
            check(&path, &inside.replace(ID, &other), "vm-7", ID, true);
            check(&path, &inside.replace(ID, &other), "vm-7", &other, false);
        }
        check("0::/system.slice/logferry.service", &inside, "", ID, true);
    }

    #[test]
    fn the_layer_that_we_write_to_is_that_of_the_root() {
        let root = "154 88 0:39 / / rw,relatime master:42 - overlay overlay rw,lowerdir=/l/7X:/l/P6,upperdir=/o/7acd/diff,workdir=/o/7acd/work";
        assert_eq!(layer(root), Some("/o/7acd/diff"));
        assert_eq!(layer(&root.replace(" / / rw", " / /mnt rw")), None);
        assert_eq!(layer("22 1 254:0 / / rw - ext4 /dev/vda rw"), None);
    }
}
