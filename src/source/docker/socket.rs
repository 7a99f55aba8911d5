//! Why an engine's socket cannot be opened, and what its owner has to do. Looks at files, opens nothing.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// Bits of a mode that opening a socket takes, of its group and of its owner.
const GROUP_READ_WRITE: u32 = 0o060;
const OWNER_READ_WRITE: u32 = 0o600;

/// What is wrong with the socket at `path` before it is even opened; `None` where it looks well.
pub fn fault(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => None,
        Ok(metadata) if metadata.is_dir() => Some(format!(
            "{} is a folder, as a container engine makes where the source of a mount is missing: remove it and start \
             the engine, then this container again",
            path.display()
        )),
        Ok(_) => Some(format!("{} is no socket", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let others = others(path, std::env::var("XDG_RUNTIME_DIR").ok().as_deref());
            let other = others.iter().find(|other| fs::metadata(other).is_ok_and(|it| it.file_type().is_socket()));
            Some(absent(path, other.map(PathBuf::as_path)))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(denied(path)),
        Err(error) => Some(format!("{}: {error}", path.display())),
    }
}

/// What to do where `path` may not be opened.
pub fn denied(path: &Path) -> String {
    let us = rustix::process::geteuid().as_raw();
    match fs::metadata(path) {
        Ok(metadata) => {
            let groups = fs::read_to_string("/etc/group").unwrap_or_default();
            remedy(path, us, &Access::of(&metadata), group_name(&groups, metadata.gid()))
        }
        Err(_) => closed_folder(path, us),
    }
}

/// Who may open a socket.
#[derive(Clone, Copy, Debug)]
struct Access {
    uid: u32,
    gid: u32,
    mode: u32,
}

impl Access {
    fn of(metadata: &Metadata) -> Access {
        Access { uid: metadata.uid(), gid: metadata.gid(), mode: metadata.mode() & 0o777 }
    }
}

fn remedy(path: &Path, us: u32, access: &Access, group: Option<&str>) -> String {
    let Access { uid, gid, mode } = *access;
    let path = path.display();
    let named = group.map(|name| format!("{name}, ")).unwrap_or_default();
    let facts = format!(
        "user {us} may not open the engine's socket {path} (owner {uid}, group {named}gid {gid}, mode {mode:o})"
    );
    if us == uid && mode & OWNER_READ_WRITE == OWNER_READ_WRITE {
        return format!(
            "{facts}: by its mode it might, so a security module refuses it (SELinux, AppArmor): in a container, \
             --security-opt label=disable"
        );
    }
    let facts = match us {
        0 => format!("{facts}, as root does not have CAP_DAC_OVERRIDE here"),
        _ => facts,
    };
    let rootless = "or name the socket of a rootless engine of this user, as host = \"unix:///run/user/UID/docker.sock\" \
                    ($XDG_RUNTIME_DIR/docker.sock)";
    if mode & GROUP_READ_WRITE != GROUP_READ_WRITE {
        return format!("{facts}: its group may not either, so run as user {uid}, {rootless}");
    }
    if gid == 0 {
        return format!(
            "{facts}: run as root, or give the socket a group of its own (dockerd --group docker, or \"group\" in \
             /etc/docker/daemon.json) and join that, {rootless}"
        );
    }
    // Inside a container the group has no name.
    let group = group.map_or_else(|| gid.to_string(), str::to_owned);
    format!(
        "{facts}: join its group (`usermod -aG {group} USER` and log in again; in a systemd unit \
         SupplementaryGroups={group}; in a container --group-add {gid}, in Compose group_add: [\"{gid}\"]), {rootless}"
    )
}

/// The folder on the way to `path` that may not be entered.
fn closed_folder(path: &Path, us: u32) -> String {
    let visible = path.ancestors().skip(1).find_map(|folder| Some((folder, fs::metadata(folder).ok()?)));
    match visible {
        Some((folder, metadata)) => format!(
            "user {us} may not enter the folder {} of the engine's socket {}: it is that of user {}, so run as that user",
            folder.display(),
            path.display(),
            metadata.uid()
        ),
        None => format!("user {us} may not reach the engine's socket {}", path.display()),
    }
}

/// Where else engines listen: rootless Docker, Podman of this user and of the system.
fn others(path: &Path, runtime_dir: Option<&str>) -> Vec<PathBuf> {
    let runtime_dir = runtime_dir.filter(|dir| dir.starts_with('/')).map(Path::new);
    let own = runtime_dir.into_iter().flat_map(|dir| [dir.join("docker.sock"), dir.join("podman/podman.sock")]);
    let all = own.chain([PathBuf::from("/var/run/docker.sock"), PathBuf::from("/run/podman/podman.sock")]);
    all.filter(|other| other != path).collect()
}

fn absent(path: &Path, other: Option<&Path>) -> String {
    let path = path.display();
    match other {
        Some(other) => {
            let other = other.display();
            format!("there is no socket {path}, but there is one at {other}: host = \"unix://{other}\" would use that")
        }
        None => format!("there is no socket {path}: is the engine installed and running?"),
    }
}

/// Name of a group, out of the text of `/etc/group`.
fn group_name(groups: &str, gid: u32) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(gid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_names_the_group_of_the_socket() {
        let groups = "root:x:0:\ndocker:x:998:ann,bob\nodd\nplus:+\n";
        let check = |us: u32, uid: u32, gid: u32, mode: u32, expected: &[&str], absent: &[&str]| {
            let access = Access { uid, gid, mode };
            let text = remedy(Path::new("/var/run/docker.sock"), us, &access, group_name(groups, gid));
            for part in expected {
                assert!(text.contains(part), "{part} in: {text}");
            }
            for part in absent {
                assert!(!text.contains(part), "no {part} in: {text}");
            }
        };
        let start = "user 7 may not open the engine's socket /var/run/docker.sock";
        check(7, 0, 998, 0o660, &[start, "(owner 0, group docker, gid 998, mode 660)", "usermod -aG docker USER"], &[]);
        check(7, 0, 998, 0o660, &["SupplementaryGroups=docker", "group_add: [\"998\"]", "$XDG_RUNTIME_DIR"], &["CAP_"]);
        check(7, 0, 123, 0o660, &["(owner 0, group gid 123, mode 660)", "group_add: [\"123\"]"], &[]);
        check(7, 0, 0, 0o660, &["dockerd --group docker"], &["usermod -aG root"]);
        check(7, 0, 998, 0o600, &["run as user 0"], &["usermod"]);
        check(7, 7, 998, 0o600, &["a security module refuses it"], &["usermod"]);
        check(0, 1000, 998, 0o660, &["root does not have CAP_DAC_OVERRIDE here", "SupplementaryGroups=docker"], &[]);
    }

    #[test]
    fn what_is_no_socket_is_said() {
        let dir = tempfile::tempdir().expect("folder");
        let (folder, file) = (dir.path().join("folder"), dir.path().join("file"));
        let socket = dir.path().join("socket");
        fs::create_dir(&folder).expect("made");
        fs::write(&file, "").expect("written");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
        assert_eq!(fault(&socket), None);
        assert!(fault(&folder).is_some_and(|text| text.contains("is a folder")));
        assert!(fault(&file).is_some_and(|text| text.contains("is no socket")));
        let missing = fault(&dir.path().join("missing")).expect("a fault");
        assert!(missing.contains("there is no socket"), "{missing}");
    }

    #[test]
    fn another_engine_that_is_there_is_named() {
        let of = |path: &str, dir: Option<&str>| others(Path::new(path), dir);
        let usual = ["/var/run/docker.sock", "/run/podman/podman.sock"];
        assert_eq!(of("/nowhere", None), usual.map(PathBuf::from));
        assert_eq!(of("/var/run/docker.sock", Some("/run/user/7"))[0], Path::new("/run/user/7/docker.sock"));
        assert!(!of("/var/run/docker.sock", None).contains(&PathBuf::from("/var/run/docker.sock")));
        let text = absent(Path::new("/a.sock"), Some(Path::new("/b.sock")));
        assert_eq!(
            text,
            "there is no socket /a.sock, but there is one at /b.sock: host = \"unix:///b.sock\" would use that"
        );
    }
}
