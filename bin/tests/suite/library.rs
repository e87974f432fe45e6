//! `towpath_client::Client` against a real server.

use std::fs;
use std::time::Duration;

use towpath_client::{Client, ConnectOptions, ErrorKind, FilePath, Transport, Url};

use crate::suite::harness::{Site, User, bytes, wait_until};

fn options(site: &Site, user: &User) -> ConnectOptions {
    let mut options = ConnectOptions::default();
    options.config_dir = Some(user.config_dir.clone());
    options.fingerprint = Some(site.fingerprint.parse().unwrap());
    options.transport = Transport::Udp;
    options.udp_port = site.udp_port;
    options.connect_timeout = Duration::from_secs(20);
    options
}

fn connect(site: &Site, user: &User) -> Client {
    let url = Url::parse(&site.url(user, "")).unwrap();
    Client::connect(&url, &options(site, user)).unwrap()
}

fn path(text: &str) -> FilePath {
    FilePath::parse(text).unwrap()
}

#[test]
fn a_program_puts_lists_and_gets_over_one_connection() {
    let site = Site::new();
    let mia = site.user("mia", "maintainer");
    let directory = site.fresh_directory();
    let (source, copy) = (directory.join("source"), directory.join("copy"));
    let content = bytes(3_000_000, 7);
    fs::write(&source, &content).unwrap();
    let client = connect(&site, &mia);

    let put = client.put(&source, &path("d/one")).unwrap();
    assert_eq!(put.manifest().name.as_str(), "mia");
    client.put(&source, &path("e/two")).unwrap();

    let listed = client.list("d").unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].path.as_str(), listed[0].size),
        ("d/one", 3_000_000)
    );
    assert_eq!(client.list("").unwrap().len(), 2);
    assert_eq!(client.list("no/such/").unwrap().len(), 0);

    let got = client.get(&path("d/one"), &copy).unwrap();
    assert_eq!(got.hash(), put.hash());
    assert!(fs::read(&copy).unwrap() == content);

    let missing = client.get(&path("none"), &copy).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let unreadable = client.put(&directory.join("none"), &path("x")).unwrap_err();
    assert_eq!(unreadable.kind(), ErrorKind::Local);
    assert!(fs::read(&copy).unwrap() == content);
    client.close().unwrap();
}

#[test]
fn calls_from_several_threads_share_the_connection() {
    let site = Site::new();
    let mia = site.user("mia", "maintainer");
    let directory = site.fresh_directory();
    let client = connect(&site, &mia);
    std::thread::scope(|scope| {
        for number in 0..4u8 {
            let (client, directory) = (&client, &directory);
            scope.spawn(move || {
                let source = directory.join(format!("{number}"));
                fs::write(&source, bytes(200_000, number)).unwrap();
                client.put(&source, &path(&format!("f{number}"))).unwrap();
            });
        }
    });
    assert_eq!(client.list("").unwrap().len(), 4);
    drop(client);
}

#[test]
fn each_failure_of_connect_has_its_kind() {
    let mut site = Site::new();
    let mia = site.user("mia", "maintainer");
    let url = Url::parse(&site.url(&mia, "")).unwrap();
    let kind = |options: &ConnectOptions| Client::connect(&url, options).unwrap_err().kind();

    let mut unknown = options(&site, &mia);
    unknown.fingerprint = None;
    assert_eq!(kind(&unknown), ErrorKind::Untrusted);

    let stranger = site.stranger("zoe");
    let mut no_credential = options(&site, &mia);
    no_credential.config_dir = Some(stranger.config_dir.clone());
    assert_eq!(kind(&no_credential), ErrorKind::LoginRefused);

    let mut elsewhere = options(&site, &mia);
    site.stop();
    elsewhere.connect_timeout = Duration::from_millis(300);
    assert_eq!(kind(&elsewhere), ErrorKind::Unreachable);
}

#[test]
fn a_client_whose_server_is_gone_says_so() {
    let mut site = Site::new();
    let mia = site.user("mia", "maintainer");
    let client = connect(&site, &mia);
    client.list("").unwrap();
    site.stop();
    wait_until("the end of the connection", || client.list("").is_err());
    assert_eq!(client.list("").unwrap_err().kind(), ErrorKind::Unreachable);
    drop(client);
}

/// One user has a quarter of the sessions, and at least one.
#[test]
fn a_client_that_is_turned_away_says_so_and_gets_in_when_there_is_a_place() {
    let mut site = Site::new();
    let mia = site.user("mia", "maintainer");
    site.stop();
    fs::write(site.server_path("towpathd.toml"), "max_sessions = 1\n").unwrap();
    site.start();
    let client = connect(&site, &mia);
    let url = Url::parse(&site.url(&mia, "")).unwrap();
    let mut hurried = options(&site, &mia);
    hurried.connect_timeout = Duration::from_secs(1);
    let refused = Client::connect(&url, &hurried).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Server, "{refused}");
    assert!(refused.to_string().contains("busy"), "{refused}");
    std::thread::scope(|scope| {
        let second = scope.spawn(|| connect(&site, &mia));
        wait_until("the second is turned away", || {
            site.log().matches("too many sessions").count() > 3
        });
        client.close().unwrap();
        let second = second.join().unwrap();
        assert_eq!(second.list("").unwrap().len(), 0);
        second.close().unwrap();
    });
}
