//! The role table, tried by real clients over the real kernel.

use crate::kernel::hosts::{self, Site, User};
use crate::kernel::report::Report;
use crate::kernel::{CaseError, Programs, demand};

/// Exit code of `towpath` when the role does not allow what was asked for.
const DENIED: i32 = 3;

/// One row of the table: what a user with this role may do.
struct Row {
    role: &'static str,
    upload: bool,
    delete_own: bool,
    delete_others: bool,
}

/// Download and list are allowed to everyone. Users and roles are managed at the server, so
/// there is no client command to refuse.
const TABLE: [Row; 3] = [
    Row {
        role: "admin",
        upload: true,
        delete_own: true,
        delete_others: true,
    },
    Row {
        role: "maintainer",
        upload: true,
        delete_own: true,
        delete_others: false,
    },
    Row {
        role: "guest",
        upload: false,
        delete_own: false,
        delete_others: false,
    },
];

/// Tries each cell and looks at what became of the file.
pub(super) fn run(programs: &Programs, report: &mut Report) -> Result<(), CaseError> {
    let mut accounts = vec![("owner", "maintainer")];
    accounts.extend(TABLE.iter().map(|row| (row.role, row.role)));
    let (mut site, users) = Site::new(programs, 1500, &accounts)?;
    let owner = &users[0];
    let source = site.path("source");
    let hash = hosts::make_file(&source, 70_000, 20)?;
    for (row, user) in TABLE.iter().zip(&users[1..]) {
        let others = format!("of-owner-for-{}", row.role);
        put(&site, owner, &source, &others)?.demand_allowed("the owner's own put", true)?;

        let get = site.path(&format!("got-by-{}", row.role));
        let downloaded = site.towpath(
            user,
            "get",
            &[&site.remote(user, &others), hosts::text(&get)?],
        )?;
        Outcome(downloaded).demand_allowed(&format!("{} get", row.role), true)?;
        demand!(
            hosts::hash_file(&get)? == hash,
            "{}: another content came back",
            row.role
        );
        demand!(
            listed(&site, user, &others)?,
            "{}: the file is not listed",
            row.role
        );

        let own = format!("of-{}", row.role);
        put(&site, user, &source, &own)?
            .demand_allowed(&format!("{} put", row.role), row.upload)?;
        demand!(
            listed(&site, owner, &own)? == row.upload,
            "{}: put and list disagree",
            row.role
        );

        for (path, allowed, whose) in [
            (&own, row.delete_own, "own"),
            (&others, row.delete_others, "another's"),
        ] {
            if path == &own && !row.upload {
                continue; // There is nothing of their own to delete.
            }
            let removed = site.towpath(user, "rm", &[&site.remote(user, path)])?;
            Outcome(removed).demand_allowed(&format!("{} rm of {whose}", row.role), allowed)?;
            demand!(
                listed(&site, owner, path)? != allowed,
                "{}: rm and list disagree",
                row.role
            );
        }
        report.say(format!(
            "  {:<11} get yes, ls yes, put {}, rm own {}, rm another's {}",
            row.role,
            word(row.upload),
            if row.upload {
                word(row.delete_own)
            } else {
                "-"
            },
            word(row.delete_others)
        ));
    }
    site.stop()
}

struct Outcome(crate::kernel::process::Ended);

impl Outcome {
    fn demand_allowed(self, what: &str, allowed: bool) -> Result<(), CaseError> {
        let code = if allowed { 0 } else { DENIED };
        self.0
            .expect_code(code)
            .map_err(|error| CaseError::Wrong(format!("{what}: {error}")))?;
        Ok(())
    }
}

fn put(
    site: &Site,
    user: &User,
    source: &std::path::Path,
    path: &str,
) -> Result<Outcome, CaseError> {
    Ok(Outcome(site.towpath(
        user,
        "put",
        &[hosts::text(source)?, &site.remote(user, path)],
    )?))
}

fn listed(site: &Site, user: &User, path: &str) -> Result<bool, CaseError> {
    let listing = site
        .towpath(user, "ls", &[&site.remote(user, "")])?
        .expect_code(0)?;
    Ok(listing.output.split_whitespace().any(|word| word == path))
}

fn word(allowed: bool) -> &'static str {
    if allowed { "yes" } else { "refused" }
}
