//! Tests of the settings, as a user writes them, and of the messages for mistakes.

use super::source::{FileText, Variables};
use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const CHAIN: &str =
    r#"{"hash": "aa", "public_key": "bb", "genesis_time": 1, "period": 3, "group_hash": "cc", "beacon_id": "x"}"#;
const MASTER: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const STRIPE: [(&str, &str); 2] =
    [("LOTTERY__PAYMENTS__STRIPE_KEY", "sk_opensesame"), ("LOTTERY__PAYMENTS__WEBHOOK_SECRET", SECRET)];
const URL: &str = "postgres://ann:opensesame@db/lottery";

fn load(file: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let file = FileText { origin: "mine.yaml".to_owned(), text: file.to_owned() };
    let variables: Variables =
        variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Config::from_sources(Some(file), &variables)
}

fn good(file: &str, variables: &[(&str, &str)]) -> Config {
    load(file, variables).unwrap_or_else(|error| panic!("{error}"))
}

fn refusal(file: &str, variables: &[(&str, &str)]) -> String {
    load(file, variables).map(|config| format!("accepted: {config:?}")).unwrap_or_else(|error| error.to_string())
}

/// Why the service has not its secrets.
fn service_refusal(variables: &[(&str, &str)]) -> String {
    good("", variables).check_service_secrets().map_or_else(|error| error.to_string(), |()| "accepted".to_owned())
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

#[test]
fn the_shipped_file_has_the_documented_defaults() {
    let config = Config::from_sources(None, &Variables::new()).unwrap();
    assert_eq!((config.server.host.as_str(), config.server.port, config.server.workers), ("127.0.0.1", 8080, 0));
    assert_eq!(config.data_dir, PathBuf::from("data"));
    assert!(config.database.url.is_none() && config.database.install && config.auth.jwt_secret.is_none());
    assert_eq!(config.auth.access_token, minutes(15));
    assert_eq!(config.auth.refresh_token, minutes(30 * 24 * 60));
    assert_eq!(config.auth.session_max_age, minutes(90 * 24 * 60));
    assert_eq!(config.tickets.reservation, minutes(5));
    assert_eq!(config.log.format, LogFormat::Pretty);
    assert_eq!(config.payments.provider, ProviderKind::Sandbox);
    let [five, six] = &config.lotteries[..] else { panic!("{:?}", config.lotteries) };
    assert_eq!((five.id.as_str(), five.pick, five.of, five.price, five.fund_share), ("5of36", 5, 36, 10000, 5000));
    assert_eq!((six.id.as_str(), six.pick, six.of, six.prizes.len()), ("6of45", 6, 45, 5));
    let top = PaysConfig::Share { share: 10000, minimum: Some(100_000_000) };
    assert_eq!(five.prizes[0], PrizeConfig { matches: 5, pays: top });
    let top = PaysConfig::Share { share: 8000, minimum: Some(1_000_000_000) };
    assert_eq!(six.prizes[0], PrizeConfig { matches: 6, pays: top });
    assert!(!five.allow_loss && !six.allow_loss);
    assert_eq!(five.prizes[1], PrizeConfig { matches: 4, pays: PaysConfig::Fixed(1_000_000) });
}

#[test]
fn a_file_needs_only_what_differs() {
    for empty in ["", "# nothing yet\n", "server:\n", "server:\n  port:\nlotteries:\n"] {
        assert_eq!(good(empty, &[]).server.port, 8080, "{empty:?}");
    }
    let config = good("server: {port: 9000}\ntickets:\n  reservation: 1h 30m\n", &[]);
    assert_eq!((config.server.port, config.server.host.as_str()), (9000, "127.0.0.1"));
    assert_eq!(config.tickets.reservation, minutes(90));
    assert_eq!(config.lotteries.len(), 2);
}

#[test]
fn configured_lotteries_replace_the_defaults() {
    let mine =
        "{id: mini, name: Mini, pick: 2, of: 10, price: 50, fund_share: 0, prizes: [{matches: 2, share: 10000}]}";
    let config = good(&format!("lotteries:\n  - {mine}\n"), &[]);
    assert_eq!(config.lotteries.len(), 1);
    assert_eq!(config.lotteries[0].id, "mini");
    assert!(!config.lotteries[0].allow_loss);
    let loses = mine.replace("fund_share: 0", "fund_share: 0, allow_loss: true");
    assert!(good(&format!("lotteries: [{loses}]"), &[]).lotteries[0].allow_loss);
    let config = good("", &[("LOTTERY__LOTTERIES", &format!("[{mine}]"))]);
    assert_eq!(config.lotteries[0].id, "mini");
    let json = r#"[{"id":"mini","name":"M","pick":2,"of":10,"price":50,"fund_share":0,"prizes":[]}]"#;
    assert_eq!(good("", &[("LOTTERY__LOTTERIES", json)]).lotteries[0].name, "M");
}

/// Each key, with a value that is not its default, and the text in which that value must appear. The last
/// assertion checks that the list is complete.
#[test]
fn every_key_has_an_environment_variable() {
    let lotteries = "[{id: mini, name: M, pick: 2, of: 10, price: 50, fund_share: 0, prizes: []}]";
    let keys = [
        ("server.host", "0.0.0.0", r#"host: "0.0.0.0""#),
        ("server.port", "9000", "port: 9000"),
        ("server.public_url", "https://lottery.example", r#"public_url: Some("https://lottery.example")"#),
        ("server.admin_address", "localhost:9100", r#"admin_address: Some("localhost:9100")"#),
        ("server.web", "false", "web: false"),
        ("server.docs", "false", "docs: false"),
        ("server.workers", "3", "workers: 3"),
        ("server.connections_per_address", "7", "connections_per_address: 7"),
        ("server.trusted_proxies", "[10.0.0.0/8, '::1']", "10.0.0.0/8"),
        ("server.forwarded_header", "Forwarded", "forwarded_header: Forwarded"),
        ("server.cors_origins", "['https://shop.example']", "https://shop.example"),
        ("server.shutdown_timeout", "7s", "shutdown_timeout: 7s"),
        ("data_dir", "/var/lib/lottery", r#"data_dir: "/var/lib/lottery""#),
        ("database.url", URL, "url: Some("),
        ("database.owner_url", URL, "owner_url: Some("),
        ("database.tls_ca", "/etc/lottery/ca.pem", "tls_ca: Some("),
        ("database.pool_size", "21", "pool_size: 21"),
        ("database.install", "false", "install: false"),
        ("database.allow_unsafe", "true", "allow_unsafe: true"),
        ("auth.jwt_secret", SECRET, "jwt_secret: Some("),
        ("auth.jwt_secret_previous", SECRET, "jwt_secret_previous: Some("),
        ("auth.access_token", "14m", "access_token: 840s"),
        ("auth.refresh_token", "29d", "refresh_token: 2505600s"),
        ("auth.session_max_age", "89d", "session_max_age: 7689600s"),
        ("auth.password_reset", "2h", "password_reset: 7200s"),
        ("auth.hash_threads", "5", "hash_threads: 5"),
        ("auth.hash_queue", "77", "hash_queue: 77"),
        ("auth.refuse_weak_passwords", "false", "refuse_weak_passwords: false"),
        ("security.admins_play", "false", "admins_play: false"),
        ("currency", "EUR", r#"currency: "EUR""#),
        ("tickets.reservation", "500ms", "reservation: 500ms"),
        ("tickets.pool_limit", "4321", "pool_limit: 4321"),
        ("wallet.min_withdrawal", "500", "min_withdrawal: 500"),
        ("persistence.batch", "511", "batch: 511"),
        ("persistence.queue", "8191", "queue: 8191"),
        ("persistence.deadline", "4s", "deadline: 4s"),
        ("persistence.keys_kept", "3d", "keys_kept: 259200s"),
        ("limits.enabled", "false", "enabled: false"),
        ("limits.logins_per_minute", "61", "logins_per_minute: 61"),
        ("limits.login_failures", "11", "login_failures: 11"),
        ("limits.login_failures_everywhere", "101", "login_failures_everywhere: 101"),
        ("limits.login_failure_window", "16m", "login_failure_window: 960s"),
        ("limits.registrations_per_hour", "121", "registrations_per_hour: 121"),
        ("limits.refreshes_per_minute", "301", "refreshes_per_minute: 301"),
        ("limits.password_resets_per_minute", "21", "password_resets_per_minute: 21"),
        ("limits.purchases_per_second", "51", "purchases_per_second: 51"),
        ("limits.tickets_per_second", "1001", "tickets_per_second: 1001"),
        ("limits.declined_cards_per_hour", "21", "declined_cards_per_hour: 21"),
        ("limits.declined_cards_per_address", "101", "declined_cards_per_address: 101"),
        ("limits.open_reservations", "201", "open_reservations: 201"),
        ("limits.watchers_per_address", "201", "watchers_per_address: 201"),
        ("limits.orders_in_flight", "1025", "orders_in_flight: 1025"),
        ("log.level", "debug", r#"level: "debug""#),
        ("log.format", "json", "format: Json"),
        ("telemetry.otlp_endpoint", "http://collector:4318", r#"otlp_endpoint: Some("http://collector:4318")"#),
        ("fairness.mode", "beacon", "mode: Beacon"),
        ("fairness.master_secret", MASTER, "master_secret: Some("),
        ("fairness.margin", "11m", "margin: 660s"),
        ("fairness.beacon_endpoints", "[http://127.0.0.1:8421]", r#"beacon_endpoints: ["http://127.0.0.1:8421"]"#),
        ("fairness.beacon_chain", CHAIN, r#"beacon_chain: Some(ChainConfig { hash: "aa", "#),
        ("fairness.policy", "/etc/lottery/policy", r#"policy: Some("/etc/lottery/policy")"#),
        ("payments.provider", "stripe", "provider: Stripe"),
        ("payments.webhook_secret", SECRET, "webhook_secret: Some("),
        ("payments.stripe_key", "sk_test_1", "stripe_key: Some("),
        ("payments.stripe_publishable_key", "pk_test_1", r#"stripe_publishable_key: Some("pk_test_1")"#),
        ("payments.stripe_url", "http://127.0.0.1:8420", r#"stripe_url: "http://127.0.0.1:8420""#),
        ("payments.allow_sandbox", "true", "allow_sandbox: true"),
        ("lotteries", lotteries, r#"id: "mini""#),
    ];
    let variable = |key: &str| format!("LOTTERY__{}", key.replace('.', "__").to_uppercase());
    for (key, value, shown) in keys {
        let name = variable(key);
        let mut variables = vec![(name.as_str(), value)];
        if key == "database.tls_ca" || key == "database.owner_url" {
            variables.push(("DATABASE_URL", "postgres://db/lottery"));
        }
        if ["database.url", "database.owner_url", "database.tls_ca"].contains(&key) {
            variables.push(("LOTTERY__AUTH__JWT_SECRET", SECRET));
        }
        if value == "stripe" {
            variables.extend(STRIPE);
        }
        let config = format!("{:?}", good("", &variables));
        assert!(config.contains(shown), "{key}: {shown} not in {config}");
        let same_in_defaults = format!("{:?}", good("", &[])).contains(shown);
        assert!(!same_in_defaults, "{key}: the value is the default");
    }

    let yaml = include_str!("../../config.yaml").lines().filter(|line| !line.trim_start().starts_with('#'));
    let (mut section, mut listed) = ("", Vec::new());
    for line in yaml.take_while(|line| !line.starts_with("lotteries:")) {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let value = rest.split('#').next().unwrap_or("").trim();
        match line.starts_with(' ') {
            false if value.is_empty() => section = name,
            false => listed.push(name.to_owned()),
            true => listed.push(format!("{section}.{}", name.trim())),
        }
    }
    listed.push("lotteries".to_owned());
    assert_eq!(listed, keys.map(|(key, ..)| key));
}

#[test]
fn the_environment_overrides_the_file() {
    let file = "server: {port: 9000, host: '::1'}";
    let config = good(file, &[("LOTTERY__SERVER__PORT", "9001"), ("PATH", "/bin"), ("LOTTERY", "x")]);
    assert_eq!((config.server.port, config.server.host.as_str()), (9001, "::1"));
    assert_eq!(
        good(file, &[("LOTTERY__SERVER__PORT", "")]).server.port,
        9000,
        "an empty variable is an unset one"
    );
}

#[test]
fn lottery_database_url_overrides_database_url() {
    let url = |file: &str, variables: &[(&str, &str)]| {
        let secret = [("LOTTERY__AUTH__JWT_SECRET", SECRET)];
        let config = good(file, &[variables, &secret].concat());
        config.database.url.map(|url| url.expose_secret().to_owned())
    };
    let (plain, ours) = (("DATABASE_URL", "postgres://plain/x"), ("LOTTERY__DATABASE__URL", "postgres://ours/x"));
    let file = "database: {url: 'postgres://file/x'}";
    assert_eq!(url(file, &[]).unwrap(), "postgres://file/x");
    assert_eq!(url(file, &[plain]).unwrap(), plain.1);
    assert_eq!(url(file, &[plain, ours]).unwrap(), ours.1);
    assert_eq!(url(file, &[ours]).unwrap(), ours.1);
    assert_eq!(url("", &[("DATABASE_URL", "")]), None);
}

#[test]
fn each_secret_may_be_in_a_file() {
    let home = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let read = |variables: &[(&str, &str)]| {
        let mut variables: Variables =
            variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        super::source::read_secret_files(&mut variables)?;
        Config::from_sources(None, &variables)
    };
    let (url, owner) = (file("url", "postgres://u:one@db/x\n"), file("owner", "postgres://u:two@db/x"));
    let (plain, empty) = (file("plain", "postgres://u:three@db/x"), file("empty", "\n"));
    let (jwt, previous) = (file("jwt", &format!("{SECRET}\n")), file("previous", &format!("{SECRET}a\r\n")));
    let master = file("master", &format!("{MASTER}\n"));
    let (webhook, stripe) = (file("webhook", &format!("{SECRET}b")), file("stripe", "sk_test_1\n"));
    let all = [
        ("LOTTERY__DATABASE__URL_FILE", url.as_str()),
        ("LOTTERY__DATABASE__OWNER_URL_FILE", &owner),
        ("LOTTERY__AUTH__JWT_SECRET_FILE", &jwt),
        ("LOTTERY__AUTH__JWT_SECRET_PREVIOUS_FILE", &previous),
        ("LOTTERY__FAIRNESS__MASTER_SECRET_FILE", &master),
        ("LOTTERY__PAYMENTS__WEBHOOK_SECRET_FILE", &webhook),
        ("LOTTERY__PAYMENTS__STRIPE_KEY_FILE", &stripe),
    ];
    let config = read(&all).unwrap();
    let (database, auth, payments) = (config.database, config.auth, config.payments);
    let master = config.fairness.master_secret;
    let secrets = [
        database.url,
        database.owner_url,
        auth.jwt_secret,
        auth.jwt_secret_previous,
        master,
        payments.webhook_secret,
        payments.stripe_key,
    ];
    assert_eq!(
        secrets.map(|secret| secret.unwrap().expose_secret().to_owned()),
        [
            "postgres://u:one@db/x",
            "postgres://u:two@db/x",
            SECRET,
            &format!("{SECRET}a"),
            MASTER,
            &format!("{SECRET}b"),
            "sk_test_1"
        ]
    );
    let plain = [("DATABASE_URL_FILE", plain.as_str()), ("LOTTERY__AUTH__JWT_SECRET", SECRET)];
    assert_eq!(read(&plain).unwrap().database.url.unwrap().expose_secret(), "postgres://u:three@db/x");
    for unset in ["", empty.as_str()] {
        let config = read(&[("LOTTERY__AUTH__JWT_SECRET_FILE", unset), ("LOTTERY__AUTH__JWT_SECRET", "")]);
        assert!(config.unwrap().auth.jwt_secret.is_none(), "{unset}");
    }
    for (variables, expected) in [
        (
            [("LOTTERY__AUTH__JWT_SECRET_FILE", jwt.as_str()), ("LOTTERY__AUTH__JWT_SECRET", SECRET)],
            "LOTTERY__AUTH__JWT_SECRET_FILE: is set along with LOTTERY__AUTH__JWT_SECRET: set only one of them",
        ),
        (
            [("LOTTERY__AUTH__JWT_SECRET_FILE", "/nothing/here"), ("LOTTERY__AUTH__JWT_SECRET", "")],
            "LOTTERY__AUTH__JWT_SECRET_FILE: cannot read /nothing/here: No such file",
        ),
        (
            [("LOTTERY__SERVER__PORT_FILE", jwt.as_str()), ("LOTTERY__AUTH__JWT_SECRET", SECRET)],
            "LOTTERY__SERVER__PORT_FILE: there is no such setting",
        ),
    ] {
        let error = read(&variables).unwrap_err().to_string();
        assert!(error.starts_with(expected) && !error.contains(&SECRET[..8]), "{error}");
    }
}

#[test]
fn errors_name_unknown_keys() {
    let lottery = "lotteries: [{id: a, name: A, pick: 1, of: 2, price: 1, fund_share: 0, prizes: [], odds: 3}]";
    let cases = [
        ("tickets: {reservatoin: 5m}", "tickets.reservatoin: there is no such setting, in mine.yaml"),
        ("ticket:\n", "ticket: there is no such setting, in mine.yaml"),
        ("Server: {port: 1}", "Server: there is no such setting"),
        (lottery, "lotteries[0].odds: unknown field `odds`"),
    ];
    for (file, expected) in cases {
        let error = refusal(file, &[]);
        assert!(error.starts_with(expected), "{error}");
    }
    for name in
        ["LOTTERY__TICKETS__RESERVE", "LOTTERY__SERVER", "LOTTERY__PORT", "LOTTERY__", "LOTTERY__DATA_DIR__X"]
    {
        assert_eq!(refusal("", &[(name, "1")]), format!("{name}: there is no such setting"));
    }
    let both = refusal("a: 1\nserver: {b: 2}", &[("LOTTERY__C", "3")]);
    assert_eq!(both.lines().count(), 3, "all are reported at once: {both}");
}

#[test]
fn errors_name_the_key_of_an_invalid_value() {
    let cases = [
        (
            "tickets: {reservation: soon}",
            r#"tickets.reservation: "soon" is not a duration such as 30s, 5m or 30d"#,
        ),
        ("tickets: {reservation: 5}", r#"tickets.reservation: "5" is not a duration"#),
        ("tickets: {reservation: -5m}", r#"tickets.reservation: "-5m" is not a duration"#),
        ("tickets: {reservation: 1 month}", r#"tickets.reservation: "1 month" is not a duration"#),
        ("tickets: {reservation: 0s}", "tickets.reservation: must be 1ms to 720h, not 0s"),
        ("auth: {session_max_age: 1m}", "auth.session_max_age: must be 15m to"),
        ("auth: {access_token: 2h, refresh_token: 1h}", "auth.refresh_token: must be 2h to"),
        ("server: {port: 99999}", "server.port: must be 0 to 65535, not 99999"),
        ("server: {port: http}", r#"server.port: must be 0 to 65535, not "http""#),
        ("server: {trusted_proxies: [10.0.0.0/8, near]}", "server.trusted_proxies[1]: must be an address such as"),
        ("server: {admin_address: 127.0.0.1}", "server.admin_address: must be host:port, such as 127.0.0.1:9100"),
        ("server: {admin_address: ':9100'}", "server.admin_address: must be host:port"),
        ("server: {forwarded_header: via}", "server.forwarded_header: must be `x-forwarded-for` or `forwarded`"),
        ("server: {cors_origins: ['https://shop.example/']}", "server.cors_origins[0]: must be an origin such as"),
        ("server: {public_url: lottery.example}", "server.public_url: must be an address without a path, such as"),
        (
            "server: {public_url: 'https://lottery.example/'}",
            "server.public_url: must be an address without a path",
        ),
        ("fairness: {mode: random}", "fairness.mode: must be `commit_reveal` or `beacon`"),
        ("fairness: {margin: 9s}", "fairness.margin: must be 10s to 24h, not 9s"),
        (
            "fairness: {beacon_endpoints: ['https://api.drand.sh/52db']}",
            "fairness.beacon_endpoints[0]: must be an address without a path, such as https://api.drand.sh",
        ),
        (
            "fairness: {beacon_endpoints: https://api.drand.sh}",
            "fairness.beacon_endpoints: must be a list such as",
        ),
        (
            "fairness: {beacon_chain: quicknet}",
            "fairness.beacon_chain: must be {hash: …, public_key: …, genesis_time: …, period: …, group_hash: …",
        ),
        ("fairness: {beacon_chain: {hash: aa}}", "fairness.beacon_chain: must be {hash: …, "),
        (
            "fairness: {master_secret: hunter2}",
            "fairness.master_secret: must be 32 bytes, as 64 hexadecimal digits",
        ),
        ("server: {cors_origins: ['*']}", "server.cors_origins[0]: must be an origin such as"),
        ("server: {port: 80.5}", "server.port: must be a whole number"),
        ("server: 80", "server: is a section"),
        ("server: {host: ''}", "server.host: must not be empty"),
        ("server: {workers: -1}", "server.workers: must be 0 to 1024, not -1"),
        (
            "server: {port: true}",
            "server.port: invalid type: boolean `true`, expected a whole number from 0 to 65535",
        ),
        ("database: {install: maybe}", "database.install: must be a boolean"),
        ("limits: {purchases_per_second: 0}", "limits.purchases_per_second: "),
        ("limits: {tickets_per_second: 99}", "limits.tickets_per_second: must be 100 to 1000000, not 99"),
        ("limits: {open_reservations: 99}", "limits.open_reservations: must be 100 to 1000000, not 99"),
        ("limits: {orders_in_flight: 0}", "limits.orders_in_flight: must be 1 to 1000000, not 0"),
        ("wallet: {min_withdrawal: 0}", "wallet.min_withdrawal: must be 1 to 1000000000000, not 0"),
        ("persistence: {batch: 100, queue: 99}", "persistence.queue: must be 100 to 1000000, not 99"),
        ("currency: rub", "currency: must be an ISO 4217 code"),
        ("log: {format: xml}", "log.format: must be `pretty` or `json`"),
        ("payments: {provider: real}", "payments.provider: must be `sandbox` or `stripe`"),
        ("payments: {webhook_secret: short}", "payments.webhook_secret: must be at least 32 bytes"),
        (
            "payments: {stripe_publishable_key: sk_live_1}",
            "payments.stripe_publishable_key: must be the publishable key, pk_…; all pages show it",
        ),
        ("payments: {stripe_url: 'http://api.stripe.com'}", "payments.stripe_url: must begin with https://"),
        (
            "payments: {stripe_url: 'http://127.0.0.1.example.com'}",
            "payments.stripe_url: must begin with https://",
        ),
        ("lotteries: [{id: a}]", "lotteries[0]: `name` is missing"),
        ("lotteries: []", "lotteries: there must be at least one"),
        ("lotteries: 5of36", "lotteries: must be a list such as [{id: 2of10, "),
    ];
    for (file, expected) in cases {
        let error = refusal(file, &[]);
        assert!(error.starts_with(expected), "{file}: {error}");
    }
    let error = refusal("", &[("LOTTERY__TICKETS__RESERVATION", "soon")]);
    assert!(error.starts_with("tickets.reservation: "), "{error}");
    let error = refusal("", &[("LOTTERY__LOTTERIES", "5of36")]);
    assert!(error.starts_with("LOTTERY__LOTTERIES: must be a list"), "{error}");
    assert!(refusal("server: [", &[]).starts_with("mine.yaml is not valid YAML"));
    let two = refusal("currency: rub\ndata_dir: ''", &[]);
    assert_eq!(two.lines().count(), 2, "{two}");
}

#[test]
fn the_example_of_each_list_is_a_list_of_it() {
    for (key, example) in super::source::LISTS {
        let name = format!("LOTTERY__{}", key.replace('.', "__").to_uppercase());
        let lotteries =
            ("LOTTERY__LOTTERIES", "[{id: 5of36, name: A, pick: 5, of: 36, price: 1, fund_share: 0, prizes: []}]");
        let variables = [(name.as_str(), example), lotteries];
        good("", if key == "lotteries" { &variables[..1] } else { &variables });
    }
}

#[test]
fn lottery_values_outside_their_ranges_are_refused() {
    let base = [("id", "a"), ("name", "A"), ("pick", "5"), ("of", "36"), ("price", "100"), ("fund_share", "5000")];
    let with = |name: &str, value: &str, prizes: &str| {
        let fields: Vec<String> = base
            .iter()
            .map(|&(key, usual)| format!("{key}: {}", if key == name { value } else { usual }))
            .collect();
        format!("lotteries: [{{{}, prizes: [{prizes}]}}]", fields.join(", "))
    };
    let cases = [
        ("id", "A", "", "lotteries[0].id: "),
        ("id", "''", "", "lotteries[0].id: "),
        ("id", "123456789012345678901234567890123", "", "lotteries"),
        ("name", "' '", "", "lotteries[0].name: "),
        ("pick", "0", "", "lotteries[0].pick: "),
        ("pick", "36", "", "lotteries[0].pick: "),
        ("of", "65", "", "lotteries[0].of: "),
        ("price", "0", "", "lotteries[0].price: "),
        ("price", "1000000000001", "", "lotteries[0].price: "),
        ("price", "99.90", "", "lotteries: must be a whole number"),
        ("fund_share", "10001", "", "lotteries[0].fund_share: "),
        ("", "", "{matches: 5}", "lotteries[0].prizes[0]: must have either `fixed` or `share`"),
        ("", "", "{matches: 5, fixed: 1, share: 1}", "lotteries[0].prizes[0]: must have either"),
        ("", "", "{matches: 5, minimum: 1}", "lotteries[0].prizes[0]: must have either"),
        ("", "", "{matches: 5, fixed: 1, minimum: 1}", "lotteries[0].prizes[0]: `minimum` belongs to `share`"),
        (
            "",
            "",
            "{matches: 5, fixed: 1}, {match: 4, fixed: 1}",
            "lotteries[0].prizes[1].match: unknown field `match`",
        ),
        ("", "", "{fixed: 1}", "lotteries[0].prizes[0]: `matches` is missing"),
    ];
    for (name, value, prizes, expected) in cases {
        let error = refusal(&with(name, value, prizes), &[]);
        assert!(error.starts_with(expected), "{name} {value} {prizes}: {error}");
    }
    for (name, value) in [("pick", "35"), ("of", "64"), ("of", "6"), ("price", "1000000000000"), ("id", "a-b_9")] {
        good(&with(name, value, ""), &[]);
    }
    let twice = refusal(
        &with("", "", "")
            .replace("[{", "[{id: a, name: A, pick: 1, of: 2, price: 1, fund_share: 0, prizes: []}, {"),
        &[],
    );
    assert_eq!(twice, "lotteries[1].id: is taken by another lottery");
}

#[test]
fn a_service_with_an_external_database_requires_a_secret() {
    let error = service_refusal(&[("DATABASE_URL", URL)]);
    assert!(error.starts_with("auth.jwt_secret: must be set along with database.url"), "{error}");
    assert_eq!(service_refusal(&[("DATABASE_URL", URL), ("LOTTERY__AUTH__JWT_SECRET", SECRET)]), "accepted");
    let error = refusal("", &[("DATABASE_URL", "lottery"), ("LOTTERY__AUTH__JWT_SECRET", SECRET)]);
    assert!(error.starts_with("database.url: must be like postgres://"), "{error}");
    let error = refusal("", &[("DATABASE_URL", URL), ("LOTTERY__AUTH__JWT_SECRET", &SECRET[1..])]);
    assert!(error.starts_with("auth.jwt_secret: must be at least 32 bytes"), "{error}");
    let error = refusal("auth: {jwt_secret: short}", &[]);
    assert!(error.starts_with("auth.jwt_secret: must be at least 32 bytes"), "{error}");
    let digits = "12345678".repeat(4);
    assert!(refusal(&format!("auth: {{jwt_secret: {digits}}}"), &[]).starts_with("auth.jwt_secret: "));
    good(&format!("auth: {{jwt_secret: '{digits}'}}"), &[("DATABASE_URL", URL)]);
    for url in ["postgres://localhost/lottery", "postgres://db/lottery?sslmode=prefer", ""] {
        let error =
            refusal("database: {tls_ca: ca.pem}", &[("DATABASE_URL", url), ("LOTTERY__AUTH__JWT_SECRET", SECRET)]);
        assert_eq!(error, "database.tls_ca: needs sslmode=require, or a host, in database.url");
    }
    let error = refusal("database: {owner_url: 'postgres://owner@localhost/lottery'}", &[]);
    assert_eq!(error, "database.owner_url: needs database.url, the login with which the service works");
    let error = refusal(
        "database: {owner_url: 'opensesame'}",
        &[("DATABASE_URL", URL), ("LOTTERY__AUTH__JWT_SECRET", SECRET)],
    );
    assert!(error.starts_with("database.owner_url: must be like postgres://"), "{error}");
    good("", &[("DATABASE_URL", "host=/run/postgresql dbname=lottery"), ("LOTTERY__AUTH__JWT_SECRET", SECRET)]);
}

#[test]
fn a_service_with_stripe_requires_its_secrets() {
    let stripe = ("LOTTERY__PAYMENTS__PROVIDER", "stripe");
    let both = "payments.stripe_key: must be set for Stripe\npayments.webhook_secret: must be set for Stripe";
    assert_eq!(service_refusal(&[stripe]), both);
    assert_eq!(service_refusal(&[stripe, STRIPE[0], STRIPE[1]]), "accepted");
}

#[test]
fn a_weak_secret_is_refused_and_the_error_says_where_to_get_another() {
    let uniform = "1234567".repeat(10);
    let make = "must have at least 8 different bytes: make one with `openssl rand -base64 32`";
    for key in ["auth.jwt_secret", "auth.jwt_secret_previous", "payments.webhook_secret"] {
        let name = format!("LOTTERY__{}", key.replace('.', "__").to_uppercase());
        assert_eq!(refusal("", &[(&name, &uniform)]), format!("{key}: {make}"));
        good("", &[(&name, SECRET)]);
    }
    let stripe =
        [("LOTTERY__PAYMENTS__PROVIDER", "stripe"), STRIPE[0], ("LOTTERY__PAYMENTS__WEBHOOK_SECRET", "whsec_1")];
    let error = refusal("", &stripe);
    assert!(error.starts_with("payments.webhook_secret: must be at least 32 bytes: Stripe shows it"), "{error}");
}

#[test]
fn the_previous_secret_is_another_one() {
    let previous = ("LOTTERY__AUTH__JWT_SECRET_PREVIOUS", SECRET);
    let error = refusal("", &[("LOTTERY__AUTH__JWT_SECRET", SECRET), previous]);
    assert_eq!(error, "auth.jwt_secret_previous: is the same as auth.jwt_secret: set a new secret there");
    good("", &[("LOTTERY__AUTH__JWT_SECRET", &SECRET.to_uppercase()), previous]);
    good("", &[previous]);
}

#[test]
fn secrets_appear_in_neither_debug_output_nor_errors() {
    let config = good("", &[("DATABASE_URL", URL), ("LOTTERY__AUTH__JWT_SECRET", SECRET), STRIPE[0], STRIPE[1]]);
    let shown = format!("{config:?}");
    assert!(!shown.contains("opensesame") && !shown.contains(SECRET), "{shown}");
    for (name, value) in [("DATABASE_URL", "opensesame://x"), ("LOTTERY__AUTH__JWT_SECRET", "opensesame")] {
        let error = load("", &[(name, value)]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("opensesame"), "{error}");
    }
}

#[test]
fn a_named_file_that_is_missing_is_an_error() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("mine.yaml");
    let error = Config::load(Some(&path)).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_configuration_or_an_error_without_secrets(
        any in "\\PC{0,80}",
        lines in proptest::collection::vec("(server|auth|lotteries|  port|  jwt_secret|- id| +)(: |:)?[-\\[{&*!|>'\"#%@0-9a-z,: ]{0,12}", 0..6)
    ) {
        for text in [any, lines.join("\n")] {
            let secret = [("LOTTERY__AUTH__JWT_SECRET", SECRET), ("LOTTERY__SERVER__TRUSTED_PROXIES", text.as_str())];
            let error = load(&text, &secret).map(|_| String::new()).unwrap_or_else(|error| error.to_string());
            proptest::prop_assert!(!error.contains(SECRET));
        }
    }
}

#[test]
fn the_chain_of_a_beacon_is_a_table_or_its_text() {
    let table = good(&format!("fairness: {{beacon_chain: {CHAIN}}}"), &[]).fairness.beacon_chain.unwrap();
    let text = good("", &[("LOTTERY__FAIRNESS__BEACON_CHAIN", CHAIN)]).fairness.beacon_chain.unwrap();
    assert_eq!((&table, table.genesis_time, table.period, table.beacon_id.as_str()), (&text, 1, 3, "x"));
}

#[test]
fn the_sale_of_a_scheduled_draw_ends_the_margin_before_a_beacon() {
    let schedules = |cut_off: &str| {
        format!(
            "schedules: [{{lottery: 5of36, at: every day at 20:00, time_zone: Europe/Moscow, on_sale: 2d, \
             cut_off: {cut_off}, pool: 0, ahead: 1}}]"
        )
    };
    let beacon = "fairness: {mode: beacon, margin: 15m}";
    good(&format!("{beacon}\n{}", schedules("15m")), &[]);
    good(&format!("fairness: {{margin: 15m}}\n{}", schedules("0s")), &[]);
    let refused = refusal(&format!("{beacon}\n{}", schedules("14m")), &[]);
    assert_eq!(refused, "schedules[0].cut_off: must be fairness.margin or more with fairness.mode: beacon");
}
