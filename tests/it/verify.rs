//! `lottery verify` as a player runs it: the program reads what a service has published over HTTP, or files that were kept,
//! and has neither the database nor the master secret.

mod keys;

use serde_json::{Value, json};
use verifiable_draw::merkle::tiles::{Tile, TileKind};

use crate::common::process::Program;
use crate::world::*;

/// What the program prints and how it ends.
pub struct Verified {
    pub code: Option<i32>,
    pub out: String,
    pub error: String,
}

impl Verified {
    /// Everything holds, and these sentences are printed.
    pub fn holds(self, sentences: &[&str]) -> Verified {
        assert_eq!((self.code, self.error.as_str()), (Some(0), ""), "{}", self.out);
        assert!(!self.out.contains('✗') && self.out.contains("\nVERIFIED: "), "{}", self.out);
        self.says(sentences)
    }

    /// Something does not hold, and these sentences say what.
    pub fn fails(self, sentences: &[&str]) -> Verified {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.error);
        assert!(
            self.error.starts_with("lottery: ") && !self.out.contains("VERIFIED"),
            "{}{}",
            self.out,
            self.error
        );
        self.says(sentences)
    }

    pub fn says(self, sentences: &[&str]) -> Verified {
        for sentence in sentences {
            let is_said = self.out.contains(sentence) || self.error.contains(sentence);
            assert!(is_said, "not said: {sentence}\n{}{}", self.out, self.error);
        }
        self
    }
}

pub async fn verify(program: &Program, arguments: &[&str]) -> Verified {
    let output = program.run(&[&["verify"], arguments].concat()).await;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Verified { code: output.status.code(), out: text(&output.stdout), error: text(&output.stderr) }
}

pub fn url(world: &World, draw: i64) -> String {
    format!("http://{}/api/v1/draws/{draw}", world.app().address)
}

async fn fetch(world: &World, path: &str) -> Vec<u8> {
    let url = format!("http://{}/api/v1{path}", world.app().address);
    let answer = http_client().get(url).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.bytes().await.unwrap().to_vec()
}

/// Keeps what the service answers as a file.
pub async fn keep(world: &World, program: &Program, path: &str, file: &str) {
    write(program, file, &fetch(world, path).await);
}

pub fn write(program: &Program, file: &str, bytes: &[u8]) {
    let path = program.directory().join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

pub fn read(program: &Program, file: &str) -> Vec<u8> {
    std::fs::read(program.directory().join(file)).unwrap()
}

/// Keeps the entry bundles of a sealed draw in a directory.
pub async fn keep_bundles(world: &World, program: &Program, draw: i64, orders: u64, directory: &str) {
    for index in 0.. {
        let Some(tile) = Tile::of_tree(TileKind::Entries, index, orders) else { break };
        let path = tile.path();
        keep(world, program, &format!("/draws/{draw}/log/{path}"), &format!("{directory}/{path}")).await;
    }
}

/// The key that a player has noted before.
pub async fn log_key(world: &World) -> String {
    world.anonymous().get("/keys").await.expect(200)["log"].as_str().unwrap().to_owned()
}

/// A draw with a jackpot from the draw before, conducted by hand, and the answers to two orders of Ann's.
struct Played {
    world: World,
    program: Program,
    ann: User,
    draw: i64,
    first_order: Value,
}

async fn play() -> Played {
    let (world, admin, before) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 100_000_000).await;
    ann.buy_quick(before, 3).await;
    admin.conduct(before).await;
    world.until_draw_is(before, "completed").await;
    let draw = admin.open_draw(&world, 5).await;
    let first_order = ann.buy_quick(draw, 7).await;
    for _ in 0..12 {
        ann.buy_quick(draw, 2).await;
    }
    admin.conduct(draw).await;
    world.until_draw_is(draw, "completed").await;
    Played { world, program: Program::new(), ann, draw, first_order }
}

const BY_HAND: &str = "the operator chose the moment";

#[actix_web::test]
async fn a_draw_is_verified_from_its_url() {
    let Played { world, program, draw, .. } = play().await;
    let url = url(&world, draw);
    let steps = [
        "The seed is the one that was committed to",
        "The numbers follow from what was published",
        "All 13 orders were read: they have the sealed root, and their 31 tickets have no gap",
        "The winners were counted",
        "is what draw 1 of this lottery rolled over",
        "entries of the log were read: it has no others about the draw",
        "– An admin ended the sale or drew the numbers by hand",
        BY_HAND,
    ];
    let all = verify(&program, &[&url]).await.holds(&steps).says(&["internal consistency only"]);
    assert!(!all.out.contains("Not checked"), "{}", all.out);

    // With the key from elsewhere nothing rests on the host.
    let key = log_key(&world).await;
    let pinned = verify(&program, &[&format!("{url}/proof/"), "--key", &key]).await.holds(&steps);
    assert!(!pinned.out.contains("internal consistency"), "{}", pinned.out);

    verify(&program, &[&url, "--strict"]).await.fails(&[BY_HAND, "NOT VERIFIED: one step does not hold"]);
    let other = other_key(&key);
    verify(&program, &[&url, "--key", &other]).await.fails(&["is not signed by a log key of this name"]);

    // What is no draw of a service.
    let anywhere = format!("http://{}/api/v1", world.app().address);
    verify(&program, &[&format!("{anywhere}/draws/99")]).await.fails(&["404", "not_found"]);
    verify(&program, &[&anywhere]).await.fails(&["is not the address of a draw, such as https://"]);
    verify(&program, &["ftp://lottery.example/draws/1"]).await.fails(&["begins with https://"]);
    let nobody = "http://127.0.0.1:9/api/v1/draws/1";
    verify(&program, &[nobody]).await.fails(&["cannot read http://127.0.0.1:9/api/v1/keys", "refused"]);
}

/// A sound key of another log.
fn other_key(key: &str) -> String {
    let (name, _) = key.split_once('+').unwrap();
    let signer = verifiable_draw::vkey::NoteSigner::new(&format!("other.{name}"), &[3; 32]).unwrap();
    signer.verifier().to_string()
}

#[actix_web::test]
async fn a_draw_is_verified_offline_and_altered_files_are_not() {
    let Played { world, program, draw, .. } = play().await;
    let key = log_key(&world).await;
    keep(&world, &program, &format!("/draws/{draw}/proof"), "proof.json").await;
    keep(&world, &program, "/draws/1/proof", "previous.json").await;
    keep_bundles(&world, &program, draw, 13, "list").await;
    drop(world);

    let offline = ["proof.json", "--key", &key, "--tickets", "list", "--previous", "previous.json"];
    let all =
        verify(&program, &offline).await.holds(&["All 13 orders were read", "what draw 1 of this lottery rolled"]);
    assert_eq!(all.out.matches("Not checked").count(), 1, "{}", all.out);
    let left = [
        "– Not checked: that the log has no other entries about the draw",
        "– Not checked: the orders themselves, their tickets and the number of winners (give the entry bundles",
        "– Not checked: the jackpot of",
    ];
    verify(&program, &["proof.json", "--key", &key]).await.holds(&left);
    verify(&program, &["proof.json"]).await.fails(&["The key of the public log is not known", "--key"]);
    verify(&program, &["proof.json", "--key", "abc"]).await.fails(&["--key: a vkey is `name+id+key`"]);

    // Another previous draw, a bundle with another order, one too few, a list that is not there.
    verify(&program, &["previous.json", "--key", &key]).await.holds(&[]);
    let same = ["proof.json", "--key", &key, "--previous", "proof.json"];
    verify(&program, &same).await.fails(&["does not come from the previous draw"]);
    let bundle = "list/tile/entries/000.p/13";
    let sound = read(&program, bundle);
    let mut altered = sound.clone();
    let owner = sound.windows(9).position(|text| text == b"\"owner\":\"").unwrap() + 9;
    altered[owner] = if altered[owner] == b'A' { b'B' } else { b'A' };
    write(&program, bundle, &altered);
    verify(&program, &offline).await.fails(&["THE ORDERS ARE NOT THE SEALED LIST"]);
    write(&program, bundle, &sound[..sound.len() - 1]);
    verify(&program, &offline).await.fails(&["The bundle tile/entries/000.p/13 does not hold", "ends inside"]);
    std::fs::remove_file(program.directory().join(bundle)).unwrap();
    verify(&program, &offline).await.fails(&["cannot read list/tile/entries/000.p/13"]);

    // Every scalar of the proof.
    let proof: Value = serde_json::from_slice(&read(&program, "proof.json")).unwrap();
    let count = proof["entries"].as_array().unwrap().len();
    assert_eq!(count, 3);
    let mut altered = vec![
        with(&proof, "/draw_id", json!(draw + 1)),
        with(&proof, "/policy", json!("quorum none\n")),
        with(&proof, "/entries/1", proof["entries"][0].clone()),
    ];
    for place in 0..count {
        for field in ["entry", "proof"] {
            let pointer = format!("/entries/{place}/{field}");
            let text = proof.pointer(&pointer).unwrap().as_str().unwrap();
            let middle = text.len() / 2;
            let changed = if &text[middle..=middle] == "A" { "B" } else { "A" };
            altered.push(with(
                &proof,
                &pointer,
                json!(format!("{}{changed}{}", &text[..middle], &text[middle + 1..])),
            ));
        }
    }
    for proof in altered {
        write(&program, "altered.json", proof.to_string().as_bytes());
        verify(&program, &["altered.json", "--key", &key]).await.fails(&["✗"]);
    }
    // Of a draw whose end is left out, it is said that it has none.
    let mut cut = proof.clone();
    cut["entries"].as_array_mut().unwrap().pop();
    write(&program, "altered.json", cut.to_string().as_bytes());
    verify(&program, &["altered.json", "--key", &key]).await.holds(&["the draw has not ended"]);
}

fn with(json: &Value, pointer: &str, value: Value) -> Value {
    let mut changed = json.clone();
    *changed.pointer_mut(pointer).unwrap() = value;
    changed
}

#[actix_web::test]
async fn a_receipt_is_verified_alone_and_with_its_draw() {
    let Played { world, program, ann, draw, first_order } = play().await;
    let key = log_key(&world).await;
    let ticket = first_order["tickets"][0]["id"].as_str().unwrap().to_owned();
    let user = ann.get("/me").await.expect(200)["id"].to_string();
    write(&program, "order.json", first_order.to_string().as_bytes());
    write(&program, "receipt.json", first_order["receipt"].to_string().as_bytes());
    let sealed = ann.get(&format!("/tickets/{ticket}/proof")).await.expect(200);
    write(&program, "sealed.json", sealed.to_string().as_bytes());
    write(&program, "bare.tlog-proof", first_order["receipt"]["proof"].as_str().unwrap().as_bytes());
    keep(&world, &program, &format!("/draws/{draw}/proof"), "proof.json").await;
    keep(&world, &program, "/draws/1/proof", "other.json").await;
    keep_bundles(&world, &program, draw, 13, "list").await;
    let online = url(&world, draw);

    // Whole answers, receipts and bare texts; the list from the network or from files.
    let in_list = "The order of the receipt is in the sealed list, at place 0";
    let owned = format!("The order is that of user {user}");
    for file in ["order.json", "receipt.json"] {
        let with_draw = [file, "--draw", &online, "--user", &user];
        verify(&program, &with_draw).await.holds(&["The order has the tickets 1 to 7", &owned, in_list]);
    }
    let offline = ["bare.tlog-proof", "--draw", "proof.json", "--key", &key];
    verify(&program, &[&offline[..], &["--tickets", "list"]].concat())
        .await
        .holds(&[in_list, "whose order it is"]);
    // The receipt is of a shorter list, and one that was made after the seal is of the sealed one.
    verify(&program, &offline).await.fails(&["cannot be told from these files: add the entry bundles"]);
    let of_seal = ["sealed.json", "--draw", "proof.json", "--key", &key, "--user", &user];
    verify(&program, &of_seal).await.holds(&["the receipt is of the list that was sealed", &owned]);

    // Alone, with the key of the list.
    verify(&program, &["receipt.json"]).await.fails(&["who signed the receipt cannot be told"]);
    let ticket_key = ticket_log_key(&read(&program, "proof.json"));
    verify(&program, &["receipt.json", "--key", &ticket_key, "--user", &user]).await.holds(&[&owned]);
    verify(&program, &["receipt.json", "--key", &key]).await.fails(&["is not signed by a log key of this name"]);

    // Somebody else's, of another draw, without the salt, altered.
    verify(&program, &["order.json", "--draw", &online, "--user", "99"]).await.fails(&["not that of user 99"]);
    let bare = ["bare.tlog-proof", "--draw", &online, "--user", &user];
    verify(&program, &bare).await.fails(&["the file has no `salt`"]);
    let other = ["receipt.json", "--draw", "other.json", "--key", &key];
    verify(&program, &other).await.fails(&["The receipt does not hold", "draws/2/log"]);
    let receipt = String::from_utf8(read(&program, "receipt.json")).unwrap();
    write(&program, "altered.json", receipt.replace("index 0", "index 1").as_bytes());
    verify(&program, &["altered.json", "--draw", "proof.json", "--key", &key]).await.fails(&["does not hold"]);

    // Files that are something else.
    for (text, says) in [
        ("", "A file to verify has the body of GET"),
        ("{}", "this is not the body of GET /draws/{id}/proof"),
        (
            r#"{"code":"not_found","detail":"There is no such draw."}"#,
            "this is an error that the service answered",
        ),
        (r#"{"payment":{},"tickets":[],"receipt":null}"#, "the order has no receipt"),
    ] {
        write(&program, "wrong", text.as_bytes());
        verify(&program, &["wrong"]).await.fails(&["wrong: ", says]);
    }
    verify(&program, &["nothing.json"]).await.fails(&["cannot read nothing.json: No such file"]);
    verify(&program, &["proof.json", "--user", "1"]).await.fails(&["--user is for receipts"]);
    let usage = program.run(&["verify"]).await;
    assert_eq!(usage.status.code(), Some(2));
}

/// The key of the list, which the announcement names.
fn ticket_log_key(proof: &[u8]) -> String {
    use base64::Engine;
    let proof: Value = serde_json::from_slice(proof).unwrap();
    let entry = proof["entries"][0]["entry"].as_str().unwrap();
    let entry = base64::engine::general_purpose::STANDARD.decode(entry).unwrap();
    let entry: Value = serde_json::from_slice(&entry).unwrap();
    entry["ticket_log"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn draws_that_have_not_ended_or_were_cancelled_say_so() {
    let (world, admin, open) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let (cancelled, closed) = (admin.open_draw(&world, 0).await, admin.open_draw(&world, 0).await);
    for draw in [open, cancelled, closed] {
        ann.buy_quick(draw, 2).await;
    }
    admin.step(closed, "close").await.expect(200);
    let program = Program::new();
    verify(&program, &[&url(&world, open)])
        .await
        .holds(&["The draw has not ended: its numbers are due 2030-05-01"]);
    let sealed = verify(&program, &[&url(&world, closed)]).await;
    sealed.holds(&[
        "1 orders with 2 tickets, before the published time",
        "All 1 orders were read",
        "has not ended",
    ]);
    for draw in [cancelled, closed] {
        admin.cancel(draw).await.expect(200);
        world.until_draw_is(draw, "cancelled").await;
    }
    verify(&program, &[&url(&world, cancelled)])
        .await
        .holds(&["Its list was not sealed, so no numbers were fixed, and what was sold is refunded"]);
    let closed = url(&world, closed);
    // After its seal a cancelled draw is never verified.
    verify(&program, &[&closed]).await.fails(&["knew its numbers before it cancelled. It would have drawn "]);
}

/// The address at which a log is followed.
pub fn log_url(world: &World) -> String {
    format!("http://{}/api/v1/log", world.app().address)
}

pub async fn look(program: &Program, url: &str) -> Verified {
    verify(program, &["--follow", url, "--state", "seen.json", "--once"]).await
}

impl Verified {
    /// Nothing to complain about; these sentences are told, and nothing else if there are none.
    pub fn tells(self, sentences: &[&str]) -> Verified {
        assert_eq!((self.code, self.error.as_str()), (Some(0), ""), "{}", self.out);
        assert_eq!(self.out.is_empty(), sentences.is_empty(), "{}", self.out);
        self.says(sentences)
    }
}

#[actix_web::test]
async fn a_monitor_tells_what_is_new_and_when_it_saw_each_seal() {
    let (world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    let (program, url) = (Program::new(), log_url(&world));
    look(&program, &url).await.tells(&["entry 0: draw 1 of 5of36 is announced"]);
    look(&program, &url).await.tells(&[]);
    for orders in 1..=3 {
        ann.buy_quick(draw, 2).await;
        world.advance(jiff::SignedDuration::from_secs(60));
        until("the head is logged", async || {
            let told = look(&program, &url).await;
            assert_eq!(told.code, Some(0), "{}", told.error);
            told.out.contains(&format!("draw 1: {orders} orders"))
        })
        .await;
    }
    let state: Value = serde_json::from_slice(&read(&program, "seen.json")).unwrap();
    assert_eq!(state["draws"]["1"]["head"]["orders"], 3);
    ann.buy_quick(draw, 1).await;
    admin.conduct(draw).await;
    world.until_draw_is(draw, "completed").await;
    look(&program, &url).await.tells(&["draw 1 is sealed: 4 orders, 7 tickets, root", "draw 1 is completed"]);
    let state: Value = serde_json::from_slice(&read(&program, "seen.json")).unwrap();
    assert!(state["draws"]["1"]["sealed"]["seen_at"].is_string() && state["draws"]["1"]["ended"].is_number());

    // The state is of one key, and of one form.
    let other = other_key(&log_key(&world).await);
    let with_key = ["--follow", &url, "--state", "seen.json", "--once", "--key", &other];
    verify(&program, &with_key).await.fails(&["seen.json: it is of a log with another key"]);
    write(&program, "seen.json", b"{}");
    look(&program, &url).await.fails(&["seen.json: this is not the state of a monitor"]);
    let nobody = ["--follow", "http://127.0.0.1:9/api/v1/log", "--state", "new.json", "--once"];
    verify(&program, &nobody).await.fails(&["cannot read http://127.0.0.1:9/api/v1/keys"]);
    for wrong in [&["--follow", &url][..], &["--follow", &url, "--state", "s", "x.json"], &["x", "--once"]] {
        assert_eq!(program.run(&[&["verify"], wrong].concat()).await.status.code(), Some(2), "{wrong:?}");
    }
}

#[actix_web::test]
async fn a_monitor_complains_of_a_fork_a_shorter_log_and_an_overdue_draw() {
    // Two services of one operator, with one key and one name: the log of each is a fork of the other's.
    let named = |config: &mut lottery::config::Config| {
        config.server.public_url = Some("https://lottery.example".to_owned());
    };
    let (one, two) = (
        World::with(named).await,
        World::at("2025-05-01T12:00:00Z".parse().unwrap(), crate::server::database().await, named).await,
    );
    let (admin, other_admin) = (one.admin().await, two.admin().await);
    for _ in 0..2 {
        admin.open_draw(&one, 0).await;
    }
    other_admin.open_draw(&two, 0).await;
    let program = Program::new();
    look(&program, &log_url(&one)).await.tells(&["entry 1: draw 2"]);
    let seen = read(&program, "seen.json");
    look(&program, &log_url(&two)).await.fails(&["THE LOG HAS SHRUNK from 2 entries to 1", "seen.json.fork"]);
    for _ in 0..2 {
        other_admin.open_draw(&two, 0).await;
    }
    // The draws' announcements contradict those that were seen, or, if they are left out, the heads do.
    look(&program, &log_url(&two)).await.fails(&["FORK", "Both checkpoints are kept in seen.json.fork"]);
    let evidence: Value = serde_json::from_slice(&read(&program, "seen.json.fork")).unwrap();
    let sizes = ["seen_before", "shown_now"]
        .map(|note| evidence[note].as_str().unwrap().lines().nth(1).map(str::to_owned));
    assert_eq!(sizes, [Some("2".to_owned()), Some("3".to_owned())]);
    assert_eq!(read(&program, "seen.json"), seen, "what was seen stays");
    look(&program, &log_url(&one)).await.tells(&[]);

    // The second service's draws were due in 2025.
    let late = ["--follow", &log_url(&two), "--state", "late.json", "--once"];
    verify(&program, &late).await.fails(&["draw 1 is OVERDUE", "3 draws are overdue"]);
    let overdue = verify(&program, &[&url(&two, 1)]).await;
    overdue.fails(&["the log has neither a result nor a cancellation"]);
    for draw in 1..=3 {
        other_admin.cancel(draw).await.expect(200);
        two.until_draw_is(draw, "cancelled").await;
    }
    verify(&program, &late).await.tells(&["draw 3 is cancelled"]);
}
