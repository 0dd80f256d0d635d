//! What the demo prints: two columns, 100 characters wide together, and plain text if standard output is no
//! terminal.

use super::number::thousands;
use super::stage::Stage;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use judge::{Edit, Latency, Verdict};
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The width of a column in characters. The time, the arrow and the latency take the rest of the 100
/// characters.
const COLUMN: usize = 37;

/// Prints the demo's lines and its progress bar.
pub(crate) struct Screen {
    started: Instant,
    /// True if standard output is a terminal.
    colour: bool,
    bar: ProgressBar,
    edits: AtomicUsize,
    conflicts: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Colour {
    Dim,
    Bold,
    Green,
    Yellow,
    Red,
    Cyan,
}

impl Screen {
    pub(crate) fn new(duration: Duration) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let target = if terminal { ProgressDrawTarget::stdout() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(duration.as_secs()), target);
        if let Ok(style) = ProgressStyle::with_template("{bar:40.cyan/blue} {pos}s of {len}s  {msg}") {
            bar.set_style(style);
        }
        Self {
            started: Instant::now(),
            colour: terminal,
            bar,
            edits: AtomicUsize::new(0),
            conflicts: AtomicUsize::new(0),
        }
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Dim => 2,
            Colour::Bold => 1,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
            Colour::Cyan => 36,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    fn line(&self, text: &str) {
        if self.bar.is_hidden() {
            println!("{text}");
        } else {
            self.bar.set_position(self.started.elapsed().as_secs());
            self.bar.println(text);
        }
    }

    pub(crate) fn say(&self, text: &str) {
        self.line(&self.paint(Colour::Dim, text));
    }

    fn time(&self) -> String {
        self.paint(Colour::Dim, &format!("{:6.1}s", self.started.elapsed().as_secs_f64()))
    }

    /// Prints where everything is, and how the user can take part.
    pub(crate) fn introduce(&self, stage: &Stage, seed: u64) {
        self.line("");
        self.line(&self.paint(
            Colour::Bold,
            &format!("Two teams edit the same accounts and contacts (seed {seed}). Take part if you like:"),
        ));
        self.line(&format!("  psql {}", stage.database()));
        self.line("       UPDATE contacts SET title = 'Queen of ' || now() WHERE id = 1;");
        self.line(&format!(
            "  TOKEN=$(curl -s {}/services/oauth2/token -d grant_type=client_credentials \\",
            stage.salesforce()
        ));
        self.line("       -d client_id=sales -d client_secret=sales-secret | sed 's/.*access_token\":\"\\([^\"]*\\).*/\\1/')");
        self.line(&format!(
            "  curl -X PATCH {}/services/data/v62.0/sobjects/Contact/ID \\",
            stage.salesforce()
        ));
        self.line("       -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d '{\"Title\": \"King\"}'");
        self.line(&format!("  ledgers, log and configuration: {}", stage.folder().display()));
        self.line("  keys: k kills Syncline, s takes Salesforce away for 20 s, c makes a conflict, q ends");
        self.line("");
        let head = format!("{:>7}  {:<COLUMN$} {:^13} {:<COLUMN$}", "", "Salesforce", "", "PostgreSQL");
        self.line(&self.paint(Colour::Bold, head.trim_end()));
    }

    pub(crate) fn edited(&self, count: usize) {
        let edits = self.edits.fetch_add(count, Ordering::Relaxed) + count;
        let conflicts = self.conflicts.load(Ordering::Relaxed);
        self.bar.set_message(format!("{} edits, {} conflicts", thousands(edits), thousands(conflicts)));
    }

    /// Prints that an edit arrived on the other side after `ms` milliseconds. `merged` is true if somebody
    /// edited another field of the record there at the same time.
    pub(crate) fn arrived(&self, edit: &Edit, ms: i64, merged: bool) {
        let verb = if edit.op == "create" { "+" } else { " " };
        let text = shortened(&format!("{verb}{} {} = {}", edit.record, edit.field, edit.value));
        let tick = self.paint(Colour::Green, "✓");
        let line = if edit.side == "salesforce" {
            let arrow = self.paint(Colour::Cyan, &format!("── {:>7} ─▶", format!("{ms} ms")));
            let merged = if merged { self.paint(Colour::Yellow, " merged") } else { String::new() };
            format!("{}  {text:<COLUMN$} {arrow} {tick}{merged}", self.time())
        } else {
            let arrow = self.paint(Colour::Cyan, &format!("◀─ {:<7} ──", format!("{ms} ms")));
            let merged = format!("{:>pad$}", if merged { "merged " } else { "" }, pad = COLUMN - 1);
            format!("{}  {}{tick} {arrow} {text}", self.time(), self.paint(Colour::Yellow, &merged))
        };
        self.line(&line);
    }

    pub(crate) fn burst_begins(&self, side: &str, what: &str) {
        self.line(&format!(
            "{}  {}",
            self.time(),
            self.paint(Colour::Bold, &format!("burst in {}: {what}", title(side)))
        ));
    }

    pub(crate) fn burst_ends(&self, side: &str, what: &str, total: usize, ms: i64) {
        let across = if side == "salesforce" { "postgres" } else { "salesforce" };
        let text = format!("all {} stand in {} after {ms} ms ({what})", thousands(total), title(across));
        self.line(&format!("{}  {}", self.time(), self.paint(Colour::Bold, &text)));
    }

    /// Prints a conflict, with the value that won and the value that is kept in the conflict log.
    pub(crate) fn conflict(&self, field: &str, salesforce: &str, postgres: &str, winner: &str) {
        self.conflicts.fetch_add(1, Ordering::Relaxed);
        let mark = |side: &str| if side == winner { "stands" } else { "kept in the log" };
        let left = shortened(&format!(" {field} = {salesforce} ({})", mark("salesforce")));
        let right = shortened(&format!("{field} = {postgres} ({})", mark("postgres")));
        let middle = self.paint(Colour::Yellow, "── conflict ──");
        self.line(&format!("{}  {left:<COLUMN$} {middle} {right}", self.time()));
    }

    /// Prints what the user or the tour did to Syncline or to Salesforce.
    pub(crate) fn event(&self, what: &str) {
        self.line(&format!("{}  {}", self.time(), self.paint(Colour::Yellow, what)));
    }

    /// Prints the last screen: the verdict on Syncline, and the script beside it. `rested` is how long
    /// Syncline took to come to rest, `None` if it did not.
    pub(crate) fn conclude(&self, verdict: &Verdict, script: &Verdict, rested: Option<Duration>) {
        self.bar.finish_and_clear();
        let rule = "─".repeat(100);
        println!("\n{}", self.paint(Colour::Dim, &rule));
        self.accounts(verdict);
        println!();
        println!("  {:<28}{:>10}{:>12}{:>12}{:>14}", "until it stands there", "p50", "p95", "p99", "edits");
        let latency = |name: &str, latency: &Latency| {
            let ms = |value: i64| format!("{value} ms");
            println!(
                "  {name:<28}{:>10}{:>12}{:>12}{:>14}",
                ms(latency.p50),
                ms(latency.p95),
                ms(latency.p99),
                number(latency.count)
            );
        };
        latency("Salesforce ─▶ PostgreSQL", &verdict.to_postgres);
        latency("PostgreSQL ─▶ Salesforce", &verdict.to_salesforce);
        println!();
        self.finding("both sides are equal", &verdict.unequal);
        self.finding("no edit is lost", &verdict.lost);
        self.finding("no record stands twice", &verdict.doubled);
        self.finding("no deleted record came back", &verdict.revived);
        self.finding("no conflict without two differing edits", &verdict.false_conflicts);
        self.finding("no value flipped back", &verdict.flipped);
        self.finding("nothing is rejected, held or paused", &verdict.left);
        match rested {
            Some(rested) => {
                self.finding(&format!("at rest {:.1} s after the last edit", rested.as_secs_f64()), &[]);
            }
            None => self.finding("it came to rest", &["something still waits; see serve.log".to_owned()]),
        }
        self.beside(verdict, script);
        println!("{}", self.paint(Colour::Dim, &rule));
        println!(
            "With your own org: create the fields Syncline_Id__c and Syncline_Write__c, write a syncline.toml,"
        );
        println!("then syncline validate, syncline apply, syncline serve. The README has each step.");
    }

    /// Prints what became of every edit.
    fn accounts(&self, verdict: &Verdict) {
        let head = format!(
            "{} edits and {} deletes of {} records, judged from the editors' own ledger",
            number(verdict.edits),
            number(verdict.deletes),
            number(verdict.records + verdict.deletes)
        );
        println!("{}", self.paint(Colour::Bold, &head));
        println!("  {:>8}  stand: final on both sides", number(verdict.stands));
        println!("  {:>8}  overwritten by a later edit of that field", number(verdict.overwritten));
        println!("  {:>8}  went with a record that was deleted", number(verdict.deleted));
        println!("  {:>8}  lost to the other side and kept in the conflict log", number(verdict.conflict));
        if verdict.window > 0 {
            println!(
                "  {:>8}  overwritten in Salesforce in the very moment of Syncline's own write, which nothing can rule out",
                number(verdict.window)
            );
        }
        let sum = verdict.accounted();
        let whole = if sum == verdict.edits {
            "every edit is accounted for"
        } else {
            "NOT every edit is accounted for"
        };
        println!("  {:>8}  in all: {whole}", number(sum));
    }

    /// Prints the verdicts on Syncline and on the script side by side; both got the same edits.
    fn beside(&self, verdict: &Verdict, script: &Verdict) {
        let count = |list: &[String]| number(u64::try_from(list.len()).unwrap_or(u64::MAX));
        let calls = |verdict: &Verdict| {
            #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
            let per_edit = verdict.calls.values().sum::<u64>() as f64 / verdict.edits.max(1) as f64;
            format!("{per_edit:.2}")
        };
        println!();
        let head =
            format!("  {:<52}{:>14}{:>22}", "the same edits, the same judge", "Syncline", "the usual script");
        println!("{}", self.paint(Colour::Bold, &head));
        let line = |what: &str, ours: String, theirs: String| {
            let colour = if theirs == "0" || theirs == ours { Colour::Dim } else { Colour::Red };
            println!("  {what:<52}{ours:>14}{}", self.paint(colour, &format!("{theirs:>22}")));
        };
        line("edits lost without a trace", number(verdict.lost_count), number(script.lost_count));
        line(
            "differences between the sides at rest",
            number(verdict.unequal_count),
            number(script.unequal_count),
        );
        line("deleted records that stand somewhere", count(&verdict.revived), count(&script.revived));
        line("values that flipped back", number(verdict.flipped_count), number(script.flipped_count));
        line("records that stand twice", count(&verdict.doubled), count(&script.doubled));
        let median =
            |verdict: &Verdict| format!("{} / {} ms", verdict.to_postgres.p50, verdict.to_salesforce.p50);
        println!(
            "  {:<52}{:>14}{:>22}",
            "median until it stands in Postgres / Salesforce",
            median(verdict),
            median(script)
        );
        println!("  {:<52}{:>14}{:>22}", "Salesforce calls per edit", calls(verdict), calls(script));
        println!(
            "  The script polls every 2 s by SystemModstamp and updated_at, and the last writer wins: cli/src/demo/script.rs"
        );
    }

    fn finding(&self, what: &str, against: &[String]) {
        if against.is_empty() {
            println!("  {} {what}", self.paint(Colour::Green, "✓"));
            return;
        }
        println!("  {} {what}: NO", self.paint(Colour::Red, "✗"));
        for one in against.iter().take(5) {
            println!("      {one}");
        }
    }
}

/// Writes a count with a comma between thousands.
fn number(count: u64) -> String {
    thousands(usize::try_from(count).unwrap_or(usize::MAX))
}

fn title(side: &str) -> &'static str {
    if side == "salesforce" { "Salesforce" } else { "PostgreSQL" }
}

/// Shortens a text to the width of a column.
fn shortened(text: &str) -> String {
    if text.chars().count() <= COLUMN {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(COLUMN - 1).collect();
    short.push('…');
    short
}
