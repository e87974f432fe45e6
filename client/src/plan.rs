//! Converts arguments to tasks: source and target of each file.

use std::collections::{BTreeSet, VecDeque};
use std::io::Read;
use std::path::{Path, PathBuf};

use towpath_protocol::Escaped;
use towpath_protocol::limits::MAX_PUBLIC_KEY_LINE_LEN;
use towpath_protocol::signed::{FilePath, PublicKey};
use towpath_protocol::{NewPassword, Request};

use crate::cli;
use crate::error::Error;
use crate::interaction::Interaction;
use crate::local::download::Target;
use crate::local::secret::read_secret;
use crate::local::upload::STANDARD;
use crate::session::task::Task;
use crate::session::tasks::get::Get;
use crate::session::tasks::get_tree::GetTree;
use crate::session::tasks::list::List;
use crate::session::tasks::put::Put;
use crate::session::tasks::put_tree::PutTree;
use crate::session::tasks::remove::{Export, Remove};
use crate::session::tasks::users::ManageUsers;
use crate::url::{SCHEME, Url};

/// The tasks of a command and the server they are for.
#[derive(Debug)]
pub(crate) struct Work {
    /// The server.
    pub(crate) server: Url,
    /// Tasks in the order in which they start.
    pub(crate) tasks: VecDeque<Box<dyn Task>>,
}

/// Parses a URL.
///
/// # Errors
/// A usage [`Error`] naming the invalid part.
pub(crate) fn parse_url(text: &str) -> Result<Url, Error> {
    Url::parse(text).map_err(|e| Error::usage(format!("`{}` is no URL: {e}", Escaped(text))))
}

fn stored_file(url: &Url) -> Result<FilePath, Error> {
    url.file().map_err(|e| {
        Error::usage(format!(
            "`{}` cannot be the name of a stored file: {e}",
            Escaped(&url.path)
        ))
    })
}

/// Checks that all URLs have the same user and server.
fn same_server(all: &[Url]) -> Result<Url, Error> {
    let first = all.first().ok_or_else(|| Error::usage("no URL"))?;
    match all.iter().find(|d| !d.same_server(first)) {
        Some(other) => Err(Error::usage(format!(
            "`{first}` and `{other}` are different servers or users; use one command for each"
        ))),
        None => Ok(first.clone()),
    }
}

fn check_directory_name(url: &Url) -> Result<(), Error> {
    let name = url.path.trim_end_matches('/');
    if name.is_empty() {
        return Ok(());
    }
    // A directory's parts follow the rules for files; in addition, a file name must fit below.
    FilePath::parse(&format!("{name}/x"))
        .map(drop)
        .map_err(|e| {
            Error::usage(format!(
                "`{}` cannot be a directory on the server: {e}",
                Escaped(&url.path)
            ))
        })
}

/// `towpath ls`
///
/// # Errors
/// A usage [`Error`].
pub(crate) fn ls(args: &cli::Ls) -> Result<Work, Error> {
    let server = parse_url(&args.url)?;
    let task = List::new(server.path.clone(), args.json);
    Ok(Work {
        server,
        tasks: VecDeque::from([Box::new(task) as Box<dyn Task>]),
    })
}

/// `towpath get`
///
/// # Errors
/// A usage [`Error`].
pub(crate) fn get(args: &cli::Get) -> Result<Work, Error> {
    let (urls, local) = match args.places.split_last() {
        Some((last, rest)) if !last.starts_with(SCHEME) && !rest.is_empty() => {
            (rest, last.as_str())
        }
        _ => (args.places.as_slice(), "."),
    };
    let all = urls
        .iter()
        .map(|url| parse_url(url))
        .collect::<Result<Vec<_>, _>>()?;
    let server = same_server(&all)?;
    if args.unverified && local != STANDARD {
        return Err(Error::usage(
            "--unverified is for standard output (`-`); a file is always verified before it gets its name",
        ));
    }
    let mut work = Work {
        server,
        tasks: VecDeque::new(),
    };
    for one in &all {
        let task: Box<dyn Task> = if args.recursive {
            get_tree(one, local, all.len())?
        } else {
            Box::new(get_file(one, local, all.len(), args.unverified)?)
        };
        work.tasks.push_back(task);
    }
    Ok(work)
}

fn get_file(from: &Url, local: &str, count: usize, unverified: bool) -> Result<Get, Error> {
    if from.is_directory() {
        return Err(Error::usage(format!(
            "`{from}` names a directory; use -r to get every file below it"
        )));
    }
    let path = stored_file(from)?;
    let target = if local == STANDARD {
        if count > 1 {
            return Err(Error::usage("standard output takes one file"));
        }
        if unverified {
            Target::UnverifiedOutput
        } else {
            Target::Output
        }
    } else if names_directory(local) {
        Target::File {
            path: Path::new(local).join(path.file_name()),
            tree: None,
        }
    } else if count > 1 {
        return Err(Error::usage(format!(
            "`{}` is not a directory, and {count} files cannot have one name; end it with `/` once it exists",
            Escaped(local)
        )));
    } else {
        Target::File {
            path: PathBuf::from(local),
            tree: None,
        }
    };
    Ok(Get::new(path, target))
}

fn get_tree(from: &Url, local: &str, count: usize) -> Result<Box<dyn Task>, Error> {
    if local == STANDARD {
        return Err(Error::usage("standard output takes one file, without -r"));
    }
    check_directory_name(from)?;
    let name = from.path.trim_end_matches('/');
    let last = name.rsplit('/').next().unwrap_or(name);
    let below = local.ends_with('/') || matches!(local, "." | "..") || count > 1;
    let named = below && !from.path.ends_with('/') && !last.is_empty();
    let directory = if named {
        Path::new(local).join(last)
    } else {
        PathBuf::from(local)
    };
    let prefix = if name.is_empty() {
        String::new()
    } else {
        format!("{name}/")
    };
    // `-r` on the name of a file gets that file.
    let file = if from.path.ends_with('/') {
        None
    } else {
        from.file().ok()
    };
    let file_target = if below || names_directory(local) {
        Path::new(local).join(last)
    } else {
        PathBuf::from(local)
    };
    Ok(Box::new(GetTree::new(
        prefix,
        directory,
        file.map(|path| (path, file_target)),
    )))
}

fn names_directory(local: &str) -> bool {
    local.ends_with('/') || Path::new(local).is_dir()
}

/// `towpath put`
///
/// # Errors
/// A usage [`Error`].
pub(crate) fn put(args: &cli::Put) -> Result<Work, Error> {
    let (last, sources) = args
        .places
        .split_last()
        .filter(|(_, sources)| !sources.is_empty())
        .ok_or_else(|| {
            Error::usage("put takes local files, and last where to: towpath://USER@HOST/PATH")
        })?;
    let server = parse_url(last)?;
    if let Some(wrong) = sources.iter().find(|s| s.starts_with(SCHEME)) {
        return Err(Error::usage(format!(
            "`{}`: put takes local files, then one URL",
            Escaped(wrong)
        )));
    }
    if sources.len() > 1 && !server.is_directory() {
        return Err(Error::usage(format!(
            "{} files cannot all be `{server}`; end it with `/` to name a directory",
            sources.len()
        )));
    }
    let mut names = BTreeSet::new();
    let mut work = Work {
        server: server.clone(),
        tasks: VecDeque::new(),
    };
    for source in sources {
        let task = put_one(source, &server, args, &mut names)?;
        work.tasks.push_back(task);
    }
    Ok(work)
}

fn put_one(
    source: &str,
    server: &Url,
    args: &cli::Put,
    names: &mut BTreeSet<String>,
) -> Result<Box<dyn Task>, Error> {
    let local = Path::new(source);
    let own_name = local.file_name().and_then(|name| name.to_str());
    let is_tree = args.recursive
        && source != STANDARD
        && std::fs::symlink_metadata(local).is_ok_and(|meta| meta.is_dir());
    let remote = match (server.is_directory(), own_name) {
        (false, _) => server.path.clone(),
        (true, _) if is_tree && source.ends_with('/') => {
            server.path.trim_end_matches('/').to_owned()
        }
        (true, Some(name)) if source != STANDARD => format!("{}{name}", server.path),
        (true, None) if is_tree => server.path.trim_end_matches('/').to_owned(),
        (true, _) => {
            return Err(Error::usage(format!(
                "`{}` has no name of its own; name the file in the URL",
                Escaped(source)
            )));
        }
    };
    if !names.insert(remote.clone()) {
        return Err(Error::usage(format!(
            "two of the sources would both be `{}` on the server",
            Escaped(&remote)
        )));
    }
    if is_tree {
        check_directory_name(&Url {
            path: remote.clone(),
            ..server.clone()
        })?;
        let prefix = if remote.is_empty() {
            remote
        } else {
            format!("{remote}/")
        };
        return Ok(Box::new(PutTree::new(
            local.to_owned(),
            prefix,
            args.replace_damaged,
        )));
    }
    let path = stored_file(&Url {
        path: remote,
        ..server.clone()
    })?;
    Ok(Box::new(Put::new(
        local.to_owned(),
        path,
        args.replace_damaged,
    )))
}

/// `towpath rm`
///
/// # Errors
/// A usage [`Error`].
pub(crate) fn rm(args: &cli::Rm) -> Result<Work, Error> {
    let all = args
        .urls
        .iter()
        .map(|url| parse_url(url))
        .collect::<Result<Vec<_>, _>>()?;
    let server = same_server(&all)?;
    let mut work = Work {
        server,
        tasks: VecDeque::new(),
    };
    for one in &all {
        work.tasks
            .push_back(Box::new(Remove::new(stored_file(one)?)));
    }
    Ok(work)
}

/// `towpath export`
///
/// # Errors
/// A usage [`Error`].
pub(crate) fn export(args: &cli::Export) -> Result<Work, Error> {
    let server = parse_url(&args.url)?;
    let task = Export::new(stored_file(&server)?, args.directory.clone());
    Ok(Work {
        server,
        tasks: VecDeque::from([Box::new(task) as Box<dyn Task>]),
    })
}

/// `towpath users`
///
/// # Errors
/// A usage [`Error`], or a local one for a key or password that cannot be read.
pub(crate) fn users(args: &cli::Users, interaction: &dyn Interaction) -> Result<Work, Error> {
    let (url, task) = match args {
        cli::Users::List(args) => (&args.url, ManageUsers::list()),
        cli::Users::Add(args) => {
            let key = args.key.as_deref().map(public_key).transpose()?;
            let password = match &args.new_password_file {
                Some(file) => Some(NewPassword::new(read_secret(file, interaction)?)),
                None => None,
            };
            let request = Request::AddUser {
                name: args.name.clone(),
                role: args.role,
                password,
                key,
            };
            (&args.url, ManageUsers::add(request, &args.name))
        }
        cli::Users::Remove(args) => (&args.url, ManageUsers::remove(args.name.clone())),
        cli::Users::Role(args) => (
            &args.url,
            ManageUsers::set_role(args.name.clone(), args.role),
        ),
    };
    Ok(single(parse_url(url)?, task))
}

/// Reads a public key and its comment from a file with one OpenSSH line.
fn public_key(file: &Path) -> Result<(PublicKey, String), Error> {
    let shown = file.display();
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|source| {
            let most = MAX_PUBLIC_KEY_LINE_LEN as u64 + 2;
            source.take(most).read_to_string(&mut text)
        })
        .map_err(|e| Error::io("read", shown, &e))?;
    PublicKey::parse_openssh_with_comment(text.trim_end())
        .map_err(|e| Error::local(format!("{}: {e}", file.display())))
}

/// The plan of one task without a path.
pub(crate) fn single(server: Url, task: impl Task + 'static) -> Work {
    Work {
        server,
        tasks: VecDeque::from([Box::new(task) as Box<dyn Task>]),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::error::ErrorKind;

    /// The tasks of a command line, formatted with `Debug`.
    fn planned(arguments: &[&str]) -> Result<Vec<String>, Error> {
        let cli = cli::Cli::try_parse_from(std::iter::once(&"towpath").chain(arguments)).unwrap();
        let work = match &cli.command {
            cli::Command::Get(args) => get(args),
            cli::Command::Put(args) => put(args),
            cli::Command::Rm(args) => rm(args),
            other => panic!("{other:?}"),
        }?;
        Ok(work.tasks.iter().map(|task| format!("{task:?}")).collect())
    }

    fn refused(arguments: &[&str]) -> String {
        let failure = planned(arguments).unwrap_err();
        assert_eq!(failure.kind, ErrorKind::Usage);
        failure.message
    }

    #[test]
    fn get_puts_a_file_where_a_copy_would_go() {
        let dir = tempfile::tempdir().unwrap();
        let local = dir.path().to_str().unwrap();
        assert!(planned(&["get", "towpath://h/d/f"]).unwrap()[0].contains("path: \"./f\""));
        assert!(
            planned(&["get", "towpath://h/d/f", "other"]).unwrap()[0].contains("path: \"other\"")
        );
        assert!(
            planned(&["get", "towpath://h/d/f", local]).unwrap()[0]
                .contains(&format!("path: \"{local}/f\""))
        );
        assert!(planned(&["get", "towpath://h/d/f", "-"]).unwrap()[0].contains("target: Output"));
        assert!(
            planned(&["get", "--unverified", "towpath://h/d/f", "-"]).unwrap()[0]
                .contains("target: UnverifiedOutput")
        );
        assert_eq!(
            planned(&["get", "towpath://h/a", "towpath://h/b", local])
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn get_says_what_makes_no_sense() {
        assert!(refused(&["get", "towpath://h/d/"]).contains("-r"));
        assert!(
            refused(&["get", "towpath://h/a", "towpath://h/b", "one"]).contains("not a directory")
        );
        assert!(refused(&["get", "towpath://h/a", "towpath://h/b", "-"]).contains("one file"));
        assert!(
            refused(&["get", "towpath://h/a", "towpath://i/b", "."]).contains("different servers")
        );
        assert!(refused(&["get", "--unverified", "towpath://h/a", "x"]).contains("--unverified"));
        assert!(refused(&["get", "towpath://h/../x"]).contains("name of a stored file"));
        assert!(refused(&["get", "h/x"]).contains("towpath://"));
    }

    #[test]
    fn trees_keep_or_drop_their_own_name() {
        let tree = |arguments: &[&str]| planned(arguments).unwrap().remove(0);
        assert!(
            tree(&["get", "-r", "towpath://h/d/many", "to"])
                .contains("prefix: \"d/many/\", last: None, more: true }, directory: \"to\"")
        );
        assert!(
            tree(&["get", "-r", "towpath://h/d/many", "to/"]).contains("directory: \"to/many\"")
        );
        assert!(tree(&["get", "-r", "towpath://h/d/many"]).contains("directory: \"./many\""));
        assert!(tree(&["get", "-r", "towpath://h/d/many/"]).contains("directory: \".\""));
        assert!(
            tree(&["get", "-r", "towpath://h/", "to"])
                .contains("prefix: \"\", last: None, more: true }, directory: \"to\"")
        );

        let dir = tempfile::tempdir().unwrap();
        let many = dir.path().join("many");
        std::fs::create_dir(&many).unwrap();
        let (bare, slashed) = (
            many.to_str().unwrap().to_owned(),
            format!("{}/", many.display()),
        );
        assert!(tree(&["put", "-r", &bare, "towpath://h/"]).contains("prefix: \"many/\""));
        assert!(tree(&["put", "-r", &bare, "towpath://h/x/"]).contains("prefix: \"x/many/\""));
        assert!(tree(&["put", "-r", &bare, "towpath://h/x"]).contains("prefix: \"x/\""));
        assert!(tree(&["put", "-r", &slashed, "towpath://h/x/"]).contains("prefix: \"x/\""));
        assert!(tree(&["put", "-r", &slashed, "towpath://h/"]).contains("prefix: \"\""));
    }

    #[test]
    fn put_names_files_and_refuses_doubles() {
        assert!(planned(&["put", "a/f", "towpath://h/"]).unwrap()[0].contains("FilePath(\"f\")"));
        assert!(planned(&["put", "a/f", "towpath://h/g"]).unwrap()[0].contains("FilePath(\"g\")"));
        assert!(planned(&["put", "-", "towpath://h/g"]).unwrap()[0].contains("source: \"-\""));
        assert!(refused(&["put", "-", "towpath://h/"]).contains("no name of its own"));
        assert!(refused(&["put", "a/f", "b/f", "towpath://h/"]).contains("both be `f`"));
        assert!(refused(&["put", "a", "b", "towpath://h/g"]).contains("end it with `/`"));
        assert!(refused(&["put", "a", "towpath://h/x.age/y"]).contains("name of a stored file"));
    }
}
