//! Bugs that can be switched on, each a mistake that somebody in this field has shipped or that a review of our own
//! design found. They live in the ports of the simulation, between the real use cases and the sides: the product has
//! none of this code.

/// A bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is described in the table below")]
pub enum Planted {
    BaseNotSaved,
    BaseSavedBeforeTheWrite,
    ConflictStoredAfterTheWrite,
    EchoToldByUser,
    OlderImageBelieved,
    EventuallyConsistentBase,
    CursorWithoutLookBack,
    CursorBySequence,
    TiesOnWholeSeconds,
    DeduplicationByContent,
    AbsentFieldIsNull,
    CreateByUpsert,
    CreateRetriedBlindly,
    AbsenceIsDelete,
    KeyChangeIsDelete,
    DeleteAlwaysWins,
    UpdateRevivesTheDeleted,
    CascadesNotCaptured,
    TriggersChangeSwallowed,
    WholeRecordWritten,
    NoCompareAndSet,
    FailedFieldsBaseMoved,
    RestoreUnnoticed,
    RuleVersionIgnored,
    FirstLinkEmptiesTheFilled,
    LeaseIgnored,
    IntentTakenForWritten,
    AcknowledgedBeforeTheWork,
    LogGoneBeforeTheQueueHasIt,
    DeleteLimitIgnored,
    LockedRowsTakenForWritten,
    RowVersionIgnored,
    OneTouchForTheBatch,
    CaptureOnlyRepaired,
    HiddenNeverLookedForAgain,
}

/// Every bug with its name on the command line and what it is.
pub const PLANTED: [(Planted, &str, &str); 35] = [
    (Planted::BaseNotSaved, "base-not-saved", "What was agreed on is not remembered"),
    (
        Planted::BaseSavedBeforeTheWrite,
        "base-saved-before-the-write",
        "The base is moved first, then the sides are written",
    ),
    (
        Planted::ConflictStoredAfterTheWrite,
        "conflict-stored-after-the-write",
        "The losing value is kept once its side was overwritten",
    ),
    (Planted::EchoToldByUser, "echo-told-by-user", "What the integration user saved last is skipped"),
    (
        Planted::OlderImageBelieved,
        "image-older-than-our-own-write-believed",
        "A read from before our last write passes for news",
    ),
    (
        Planted::EventuallyConsistentBase,
        "eventually-consistent-base",
        "Bases are read and compared through an index that lags",
    ),
    (Planted::CursorWithoutLookBack, "cursor-without-look-back", "Catch-up goes on where it stopped"),
    (Planted::CursorBySequence, "cursor-by-sequence-id", "The capture log is read by its ids, in order"),
    (
        Planted::TiesOnWholeSeconds,
        "ties-on-whole-seconds",
        "A page of catch-up goes on after the last one's second",
    ),
    (
        Planted::DeduplicationByContent,
        "deduplication-id-from-content",
        "The queue drops a touch that it has seen within five minutes",
    ),
    (Planted::AbsentFieldIsNull, "absent-field-taken-for-null", "A field that an answer leaves out is empty"),
    (Planted::CreateByUpsert, "create-by-upsert", "A create is repeated as an upsert"),
    (
        Planted::CreateRetriedBlindly,
        "create-retried-blindly",
        "A create whose answer was lost is sent again as a new one",
    ),
    (Planted::AbsenceIsDelete, "absence-taken-for-delete", "A record that is not found was deleted"),
    (
        Planted::KeyChangeIsDelete,
        "key-change-taken-for-delete",
        "A row whose key changed was deleted and inserted",
    ),
    (
        Planted::DeleteAlwaysWins,
        "delete-always-wins",
        "A delete goes across whatever was edited there meanwhile",
    ),
    (
        Planted::UpdateRevivesTheDeleted,
        "update-revives-the-deleted",
        "An update of a deleted record takes it out of the recycle bin",
    ),
    (
        Planted::CascadesNotCaptured,
        "capture-silent-for-cascades",
        "Rows that a trigger or cascade changes are not captured",
    ),
    (
        Planted::TriggersChangeSwallowed,
        "triggers-change-swallowed",
        "All log rows of our own transaction are dropped",
    ),
    (Planted::WholeRecordWritten, "whole-record-written", "Every field is written, not those that differ"),
    (Planted::NoCompareAndSet, "no-compare-and-set", "Groups alone keep two runs from one record"),
    (Planted::FailedFieldsBaseMoved, "failed-fields-base-moved", "A refused write counts as written"),
    (
        Planted::RestoreUnnoticed,
        "pulse-ignored-after-a-restore",
        "A database restored to yesterday is taken for today's",
    ),
    (
        Planted::RuleVersionIgnored,
        "rule-version-ignored",
        "Fingerprints of an older rule are compared with new ones",
    ),
    (
        Planted::FirstLinkEmptiesTheFilled,
        "first-link-empties-a-filled-field",
        "The primary's empty value wins at the first link",
    ),
    (Planted::LeaseIgnored, "lease-ignored", "An intent keeps nobody away"),
    (
        Planted::IntentTakenForWritten,
        "intent-taken-for-written",
        "What a crashed run meant to write is taken as written",
    ),
    (
        Planted::AcknowledgedBeforeTheWork,
        "acknowledged-before-the-work",
        "A message is gone once it is received",
    ),
    (
        Planted::LogGoneBeforeTheQueueHasIt,
        "log-gone-before-the-queue-has-it",
        "Log rows are deleted, then sent",
    ),
    (Planted::DeleteLimitIgnored, "delete-limit-ignored", "However many are deleted, they go across"),
    (
        Planted::LockedRowsTakenForWritten,
        "locked-rows-taken-for-written",
        "A row that was skipped for its lock counts as written",
    ),
    (
        Planted::RowVersionIgnored,
        "row-version-ignored",
        "A row that somebody edited since the run read it is written all the same",
    ),
    (Planted::OneTouchForTheBatch, "one-touch-for-the-batch", "Of a message's touches only the last is kept"),
    (
        Planted::CaptureOnlyRepaired,
        "capture-only-repaired",
        "Triggers that were gone are created again, and what went unnoticed is not looked for",
    ),
    (
        Planted::HiddenNeverLookedForAgain,
        "hidden-never-looked-for-again",
        "What a side refused or hid is looked at again only when it changes",
    ),
];

impl Planted {
    /// The bug of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        PLANTED.into_iter().find(|(_, known, _)| *known == name).map(|(planted, _, _)| planted)
    }
}
