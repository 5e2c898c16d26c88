//! The alerts for Prometheus and the dashboard for Grafana name only metrics that the service exports. .ci/prometheus
//! tests what the alerts do.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::logs::witnesses::stand_in::{Conduct, TestWitness};
use crate::logs::witnesses::{PolicyFile, policy_of};
use crate::world::*;

const RULES: &str = include_str!("../../deploy/prometheus-rules.yml");
const RULE_TESTS: &str = include_str!("../../deploy/prometheus-rules.test.yml");
const DASHBOARD: &str = include_str!("../../deploy/grafana.json");

/// Exported with several database hosts alone: tests/it/faults/failover.rs sees it.
const WITH_SEVERAL_HOSTS: &str = "lottery_synchronous_replication";

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("lottery_") || word.starts_with("process_")).collect()
}

/// The names of all alerts of a text.
fn alerts<'a>(text: &'a str, before: &str) -> BTreeSet<&'a str> {
    let names = text.split(before).skip(1);
    names.map(|rest| rest.split(|letter: char| !letter.is_ascii_alphanumeric()).next().unwrap()).collect()
}

#[actix_web::test]
async fn the_alerts_and_the_dashboard_name_metrics_that_are_exported() {
    // With a witness, which has metrics of its own.
    let witness = TestWitness::start(1, Conduct::Honest).await;
    let policy = PolicyFile::new(&policy_of(1, &[&witness]));
    let world = policy.world().await;
    let draw = world.admin().await.open_draw(&world, 0).await;
    world.rich_player("ann", PRICE).await.buy_quick(draw, 1).await;
    let text = world.metrics().await;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let mut exported: BTreeSet<&str> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
    assert!(!exported.contains(WITH_SEVERAL_HOSTS), "it needs no exception");
    exported.insert(WITH_SEVERAL_HOSTS);
    for (file, text) in [("rules", RULES), ("tests of the rules", RULE_TESTS), ("dashboard", DASHBOARD)] {
        let named = named(text);
        assert!(named.len() > 10, "{file}: {named:?}");
        let unknown: Vec<_> = named.difference(&exported).collect();
        assert!(unknown.is_empty(), "the {file} name metrics that the service does not export: {unknown:?}");
    }
}

#[test]
fn every_alert_has_a_test_that_raises_it() {
    let (rules, raised) = (alerts(RULES, "- alert: "), alerts(RULE_TESTS, "{alertname=\""));
    assert!(rules.len() > 10);
    assert_eq!(rules, raised);
}

#[test]
fn the_dashboard_is_one_that_grafana_can_import() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "an id for each panel");
    for panel in panels {
        let place = &panel["gridPos"];
        assert!(place["x"].as_i64().unwrap() + place["w"].as_i64().unwrap() <= 24, "{panel}");
        let targets = panel["targets"].as_array().into_iter().flatten();
        assert_eq!(targets.clone().count() > 0, panel["type"] != "row", "{panel}");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "the operator chooses it: {target}");
        }
    }
}
