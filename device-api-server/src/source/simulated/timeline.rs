// SPDX-License-Identifier: Apache-2.0
//! The steps of a scenario, as its file has them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::action::{Action, Step};
use super::file::{Fault, check_profiles, check_slot};
use super::scenario::Board;
use super::words::{Time, Uuid};

/// The most steps of a timeline.
const MOST_STEPS: usize = 10_000;
/// The shortest time after which a timeline begins anew.
const SHORTEST_REPEAT: Duration = Duration::from_secs(1);

/// Reads the value of `at`: an array of tables.
pub(super) fn read(value: Spanned<DeValue<'_>>, boards: &[Board]) -> Result<Vec<Step>, Fault> {
    let at = value.span();
    let DeValue::Array(entries) = value.into_inner() else {
        return Fault::new(at, "write each step as a table of its own, under [[at]]");
    };
    if entries.len() > MOST_STEPS {
        return Fault::new(at, format!("a scenario has at most {MOST_STEPS} steps"));
    }
    let mut steps: Vec<Step> = Vec::with_capacity(entries.len());
    let mut uuids = boards.iter().enumerate().map(|(slot, board)| (board.uuid.clone(), slot)).collect();
    for entry in entries {
        let (time, action) = split(entry)?;
        let (at, time) = (time.span(), time.into_inner().0);
        if let Some(last) = steps.last().filter(|last| last.time > time) {
            return Fault::new(at, format!("this step is before the one above it, which is at {:?}", last.time));
        }
        check(&action, boards, &mut uuids)?;
        steps.push(Step { time, action });
    }
    Ok(steps)
}

/// Takes an entry apart into its time and what happens then.
fn split(entry: Spanned<DeValue<'_>>) -> Result<(Spanned<Time>, Action), Fault> {
    let at = entry.span();
    let DeValue::Table(mut fields) = entry.into_inner() else {
        return Fault::new(at, "write each step as a table of its own, under [[at]]");
    };
    let Some(time) = fields.remove("time") else {
        return Fault::new(at, "this step has no time: write one, such as time = \"5s\"");
    };
    let action = action(at, fields)?;
    let place = time.span();
    let time = Time::deserialize(ValueDeserializer::from(time));
    match time {
        Ok(time) => Ok((Spanned::new(place, time), action)),
        // An error of the outermost value has no place of its own.
        Err(error) => Fault::new(place, error.message()),
    }
}

/// Reads an event by itself: a step without a time.
pub(super) fn event(text: &str, boards: &[Board]) -> Result<Action, Fault> {
    let action = action(0..text.len(), DeTable::parse(text)?.into_inner())?;
    let mut uuids = boards.iter().enumerate().map(|(slot, board)| (board.uuid.clone(), slot)).collect();
    check(&action, boards, &mut uuids)?;
    Ok(action)
}

/// What happens, from the keys of a step.
fn action(at: Range<usize>, mut fields: DeTable<'_>) -> Result<Action, Fault> {
    let Some(event) = fields.remove("event") else {
        return Fault::new(at, "this step has no event: write what happens, such as event = \"xid\"");
    };
    let place = event.span();
    let DeValue::String(event) = event.into_inner() else {
        return Fault::new(place, "the event is not a string");
    };
    // As serde has an enum with data: a table whose one key is the variant. That keeps the places of the
    // fields, which an internally tagged enum loses.
    let mut tagged = DeTable::new();
    tagged.insert(Spanned::new(place, event), Spanned::new(at.clone(), DeValue::Table(fields)));
    Ok(Action::deserialize(ValueDeserializer::from(Spanned::new(at, DeValue::Table(tagged))))?)
}

/// Refuses what no node can do. `uuids` are those that there were so far, with their slots.
fn check(action: &Action, boards: &[Board], uuids: &mut BTreeMap<Uuid, usize>) -> Result<(), Fault> {
    if let Some(slot) = action.slot() {
        check_slot(slot, boards.len())?;
    }
    match action {
        Action::MigOn { gpu, profiles } if profiles.get_ref().is_empty() => {
            Fault::new(profiles.span(), format!("write how GPU {} is divided, such as [\"3g.40gb\"]", gpu.get_ref()))
        }
        Action::MigOn { gpu, profiles } => check_profiles(boards[*gpu.get_ref()].product, profiles),
        Action::Xid { gpu, gpu_instance: None, compute_instance: Some(_), .. } => {
            Fault::new(gpu.span(), "a compute_instance is one of a gpu_instance: write that, too")
        }
        Action::Replace { gpu, uuid: Some(uuid) } => match uuids.insert(uuid.get_ref().clone(), *gpu.get_ref()) {
            Some(slot) if slot != *gpu.get_ref() => Fault::new(uuid.span(), format!("this is the UUID of GPU {slot}")),
            _ => Ok(()),
        },
        Action::Reorder { order } => {
            let mut sorted = order.get_ref().clone();
            sorted.sort_unstable();
            if sorted.into_iter().eq(0..boards.len()) {
                return Ok(());
            }
            let last = boards.len() - 1;
            Fault::new(order.span(), format!("write each of the GPUs 0 to {last} once, in their new order"))
        }
        Action::Hang { call, gpu: Some(gpu), .. } | Action::Fail { call, gpu: Some(gpu), .. } if !call.has_gpu() => {
            Fault::new(gpu.span(), "this call is about no single GPU: leave gpu out")
        }
        _ => Ok(()),
    }
}

/// Refuses a timeline that cannot begin anew after this time.
pub(super) fn check_repeat(repeat: Spanned<Time>, steps: &[Step]) -> Result<Duration, Fault> {
    let (at, Time(after)) = (repeat.span(), repeat.into_inner());
    match steps.last() {
        None => Fault::new(at, "there is nothing to repeat: write some [[at]]"),
        Some(last) if after < last.time.max(SHORTEST_REPEAT) => {
            Fault::new(at, "write a time of at least 1s, and not before the last step")
        }
        Some(_) => Ok(after),
    }
}
