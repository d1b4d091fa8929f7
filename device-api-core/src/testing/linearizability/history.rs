// SPDX-License-Identifier: Apache-2.0
//! What some clients did at once.

/// What some clients did to a store that held no object at first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The revision of the store before.
    pub start: u64,
    /// What the clients asked and were answered.
    pub operations: Vec<Operation>,
    /// What a watch of everything reported, in its order.
    pub log: Vec<Committed>,
}

/// One request of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Which object; of no meaning for a list.
    pub key: String,
    /// What was asked.
    pub call: Call,
    /// What was answered.
    pub reply: Reply,
    /// The moment before the request was sent, on a counter that all clients share.
    pub invoked: u64,
    /// The moment after the answer came.
    pub responded: u64,
}

/// What a client asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A create with this value, which no other write has.
    Create {
        /// What `spec.uuid` is to be.
        value: String,
    },
    /// An update with this value, which no other write has.
    Replace {
        /// What `spec.uuid` is to be.
        value: String,
        /// The revision that the client had read; `None`: whatever is current.
        version: Option<u64>,
    },
    /// A delete of the object of this uid.
    Delete {
        /// The precondition.
        uid: String,
    },
    /// A get.
    Get,
    /// A list of everything.
    List,
}

/// What a client was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A write was stored as this.
    Stored(State),
    /// A delete happened.
    Deleted,
    /// A get found this.
    Found(State),
    /// A list showed this, as of this revision.
    Listed(u64, Vec<(String, State)>),
    /// There is no such object.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The version or uid is another.
    Conflict,
    /// Nobody can say: a write may have happened or not.
    Unclear,
}

/// What an object was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Its resource version.
    pub revision: u64,
    /// Its uid.
    pub uid: String,
    /// Its `spec.uuid`.
    pub value: String,
}

/// One event of a watch of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Which object.
    pub key: String,
    /// What it was after the write or, if that was a delete, before it, but with the delete's revision.
    pub state: State,
    /// Whether it was a delete.
    pub deleted: bool,
}
