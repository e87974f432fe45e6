//! The vectors under `tests/vectors/`, each of which says what is to become of it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use towpath_protocol::signed::{
    FilePath, KeyStatement, Manifest, PathError, SignedManifest, SignedStatement, UserId, UserName,
};
use towpath_protocol::{Action, Role};

/// A vector file: `keyword: value` lines, an empty line, and the body byte for byte.
struct Vector {
    header: BTreeMap<String, String>,
    body: String,
}

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors"))
}

fn load(path: &PathBuf) -> Vector {
    let text = fs::read_to_string(path).unwrap();
    let (header, body) = text.split_once("\n\n").unwrap();
    let header = header.lines().map(|line| {
        let (keyword, value) = line.split_once(": ").unwrap();
        (keyword.to_owned(), value.to_owned())
    });
    Vector {
        header: header.collect(),
        body: body.to_owned(),
    }
}

impl Vector {
    /// Text and armored signature.
    fn signed(&self) -> (&str, &str) {
        let at = self.body.find("-----BEGIN").unwrap();
        self.body.split_at(at)
    }

    fn field(&self, keyword: &str) -> Option<&str> {
        self.header.get(keyword).map(String::as_str)
    }
}

/// What became of a vector, in the words of its `expect` line.
fn verdict<T, E: Debug>(result: &Result<T, E>) -> String {
    match result {
        Ok(_) => "accept".to_owned(),
        Err(error) => format!("refuse {error:?}"),
    }
}

/// Reads a vector; gives the verdict and, if accepted, its text, hash and signer.
fn read(vector: &Vector) -> (String, Option<(String, String, Option<String>)>) {
    match vector.field("kind").unwrap() {
        "manifest" => {
            let read = Manifest::parse(&vector.body);
            let found = read.as_ref().ok();
            let found = found.map(|m| (m.emit(), m.hash().to_string(), None));
            (verdict(&read), found)
        }
        "statement" => {
            let read = KeyStatement::parse(&vector.body);
            let found = read.as_ref().ok();
            let found = found.map(|s| (s.emit(), s.hash().to_string(), None));
            (verdict(&read), found)
        }
        "signed-manifest" => {
            let (text, signature) = vector.signed();
            let read = SignedManifest::parse(text, signature);
            let found = read.as_ref().ok().map(|s| {
                let body = format!("{}{}", s.manifest().emit(), s.signature());
                (body, s.hash().to_string(), Some(s.signer().to_openssh()))
            });
            (verdict(&read), found)
        }
        "signed-statement" => {
            let (text, signature) = vector.signed();
            let read = SignedStatement::parse(text, signature);
            let found = read.as_ref().ok().map(|s| {
                let body = format!("{}{}", s.statement().emit(), s.signature());
                (body, s.hash().to_string(), Some(s.signer().to_openssh()))
            });
            (verdict(&read), found)
        }
        other => panic!("unknown kind {other}"),
    }
}

#[test]
fn every_vector_meets_its_fate() {
    let mut kinds: BTreeMap<(String, bool), u32> = BTreeMap::new();
    for entry in fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let vector = load(&path);
        let Some(kind) = vector.field("kind").filter(|kind| is_ours(kind)) else {
            continue;
        };
        let (verdict, found) = read(&vector);
        let expected = vector.field("expect").unwrap();
        assert_eq!(verdict, expected, "{}", path.display());
        if let Some((text, hash, signer)) = &found {
            assert_eq!(*text, vector.body, "{}", path.display());
            assert_eq!(Some(&**hash), vector.field("hash"), "{}", path.display());
            let signer = signer.as_deref();
            assert_eq!(signer, vector.field("signer"), "{}", path.display());
        }
        *kinds.entry((kind.to_owned(), found.is_some())).or_default() += 1;
    }
    let count = |kind: &str, accepted| kinds.get(&(kind.to_owned(), accepted)).copied();
    for kind in [
        "manifest",
        "statement",
        "signed-manifest",
        "signed-statement",
    ] {
        assert!(count(kind, true) > Some(0), "no vector of {kind} to accept");
        assert!(
            count(kind, false) > Some(0),
            "no vector of {kind} to refuse"
        );
    }
}

fn is_ours(kind: &str) -> bool {
    kind.ends_with("manifest") || kind.ends_with("statement")
}

fn names(file: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(directory().join(file)).unwrap();
    let list: Vec<Value> = serde_json::from_str(&text).unwrap();
    let field = |value: &Value, name: &str| value[name].as_str().unwrap().to_owned();
    let pairs = list.iter().map(|v| (field(v, "name"), field(v, "expect")));
    pairs.collect()
}

#[test]
fn every_file_name_meets_its_fate() {
    let names = names("names.json");
    assert!(names.len() > 50);
    for (name, expected) in names {
        let found = match FilePath::parse(&name) {
            Err(PathError::Character(c)) => format!("refuse Character({:04X})", u32::from(c)),
            other => verdict(&other),
        };
        assert_eq!(found, expected, "{name:?}");
    }
}

#[test]
fn every_user_name_meets_its_fate() {
    let names = names("user-names.json");
    assert!(names.len() > 20);
    for (name, expected) in names {
        let found = match UserName::parse(&name) {
            Ok(_) => "accept",
            Err(_) => "refuse",
        };
        assert_eq!(found, expected, "{name:?}");
    }
}

/// The specification shows vectors and the table of roles; what it shows is what is tested.
#[test]
fn the_specification_shows_what_is_tested() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROTOCOL.md");
    let page = fs::read_to_string(path).unwrap();
    for file in [
        "signed-manifest-accept.txt",
        "signed-statement-accept-add.txt",
    ] {
        let vector = load(&directory().join(file));
        let (text, _) = vector.signed();
        assert!(page.contains(file), "{file} is not named");
        assert!(
            page.contains(&format!("```\n{text}```\n")),
            "{file} is not shown"
        );
    }
    let vector = load(&directory().join("signed-manifest-accept.txt"));
    for keyword in ["hash", "signer"] {
        assert!(page.contains(vector.field(keyword).unwrap()), "{keyword}");
    }
    let me = UserId::from_bytes([1; 16]);
    let other = UserId::from_bytes([2; 16]);
    for role in Role::ALL {
        let plain = |action, yes| if role.allows(action, me) { yes } else { "no" };
        let delete = |owner| role.allows(Action::Delete { owner }, me);
        let row = [
            role.as_str(),
            plain(Action::Upload, "yes"),
            plain(Action::Download, "all"),
            plain(Action::List, "yes"),
            match (delete(me), delete(other)) {
                (true, true) => "any file",
                (true, false) => "own files",
                _ => "no",
            },
            plain(Action::ManageUsers, "yes"),
            plain(Action::ChangeRoles, "yes"),
        ];
        let row = format!("| {} |\n", row.join(" | "));
        assert!(page.contains(&row), "the page lacks the row {row}");
    }
}
