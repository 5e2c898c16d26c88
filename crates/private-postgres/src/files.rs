//! Private directories and durable writes. It does not know what the files are for.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::error::{FileContext, PostgresError};
use crate::user::ServerUser;

/// Makes a directory that only the server's user (and root) can enter. One that exists keeps its content.
pub(crate) fn private_dir(path: &Path, user: &ServerUser) -> Result<(), PostgresError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let is_dir = fs::symlink_metadata(path).on_file("look at", path)?.is_dir();
            let kind = if is_dir { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) };
            kind.on_file("use", path)?;
        }
        made => made.on_file("create", path)?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).on_file("set the permissions of", path)?;
    user.give_ownership(path)
}

/// Replaces a file by `temporary`, a new one in the same directory, so that a crash leaves the old text or the
/// new one.
pub(crate) fn write_durably(path: &Path, temporary: &Path, text: &str) -> Result<(), PostgresError> {
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(temporary, path)
    };
    write().on_file("write", path)?;
    sync_parent(path)
}

/// Replaces a file in a directory of the server's user, who becomes its owner and may alone read it. That user could
/// put a link where the new file is made, so an existing name is never opened.
pub(crate) fn write_owned(path: &Path, text: &str, user: &ServerUser) -> Result<(), PostgresError> {
    let temporary = path.with_extension("conf.new");
    let write = || -> io::Result<()> {
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        user.own(&file)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().on_file("write", path)?;
    sync_parent(path)
}

/// Makes a rename, or a new file, in the directory of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> Result<(), PostgresError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::File::open(parent).and_then(|dir| dir.sync_all()).on_file("sync", parent)
}
