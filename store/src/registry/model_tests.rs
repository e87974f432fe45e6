//! The registry against a naive model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::tests::{Bench, name};
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Add(u8, Role),
    Remove(u8),
    SetRole(u8, Role),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let role = || prop::sample::select(Role::ALL.to_vec());
    prop_oneof![
        3 => (0..5_u8, role()).prop_map(|(who, role)| Step::Add(who, role)),
        2 => (0..5_u8).prop_map(Step::Remove),
        2 => (0..5_u8, role()).prop_map(|(who, role)| Step::SetRole(who, role)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A map from names to roles, with the rule about admins, is all there is to it.
    #[test]
    fn behaves_like_a_map(steps in prop::collection::vec(step(), 0..30)) {
        let bench = Bench::new();
        let mut registry = bench.again();
        let mut model = BTreeMap::<UserName, Role>::new();
        for step in steps {
            let last_admin = |model: &BTreeMap<UserName, Role>, who: &UserName| {
                model.get(who) == Some(&Role::Admin) && model.values().filter(|role| **role == Role::Admin).count() == 1
            };
            let uid = |who: &UserName| registry.find(who).map_or(UserId::from_bytes([0; 16]), |user| user.uid);
            match step {
                Step::Add(who, role) => {
                    let who = name(&format!("u{who}"));
                    let added = registry.add(NewUser { name: who.clone(), role, password: None, keys: vec![] });
                    prop_assert_eq!(added.is_ok(), !model.contains_key(&who));
                    model.entry(who).or_insert(role);
                }
                Step::Remove(who) => {
                    let who = name(&format!("u{who}"));
                    let may = model.contains_key(&who) && !last_admin(&model, &who);
                    prop_assert_eq!(registry.remove(uid(&who)).is_ok(), may);
                    if may {
                        model.remove(&who);
                    }
                }
                Step::SetRole(who, role) => {
                    let who = name(&format!("u{who}"));
                    let may = model.contains_key(&who) && (role == Role::Admin || !last_admin(&model, &who));
                    prop_assert_eq!(registry.set_role(uid(&who), role).is_ok(), may);
                    if may {
                        model.insert(who, role);
                    }
                }
                Step::Reopen => registry = bench.again(),
            }
            let users: BTreeMap<_, _> = registry.users().into_iter().map(|user| (user.name, user.role)).collect();
            prop_assert_eq!(&users, &model);
        }
    }
}
