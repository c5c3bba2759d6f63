//! Foreign keys, checked by the hub itself at the end of a push, over the rows it
//! touched and no others.
//!
//! SQLite's own enforcement is off: it would delete children that no replica ever
//! said were gone, and would fail a whole push for one row.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::Connection;

use super::batch::{Batch, Touched};
use super::schema::Shape;
use super::writing;
use crate::hub::error::Result;
use crate::model::{Key, Row, Value};
use crate::protocol::WireOther;
use crate::sqlite::{ident, value};

/// Children named in one conflict.
const OTHERS_MAX: usize = 20;

/// One foreign key.
#[derive(Debug)]
pub(super) struct Link {
    pub child: Arc<Shape>,
    pub parent: Arc<Shape>,
    /// Positions of the referring columns, and of those they refer to.
    pub child_at: Vec<usize>,
    pub parent_at: Vec<usize>,
    /// The parent's positions are its key's: a row keeps them for life.
    pub to_key: bool,
    name: String,
    /// By the child's key: its referring values, if they name no row.
    dangling_sql: String,
    /// By the parent's values: keys of children that name them, if no parent has them.
    children_sql: String,
}

/// The foreign keys between `shapes`; those to tables that are not here bind nobody.
pub(super) fn of(shapes: &[Arc<Shape>]) -> Vec<Link> {
    let mut links = Vec::new();
    for child in shapes {
        for (number, key) in child.table.foreign_keys.iter().enumerate() {
            let named = |shape: &&Arc<Shape>| shape.table.name.eq_ignore_ascii_case(&key.parent);
            let Some(parent) = shapes.iter().find(named) else { continue };
            let at = |shape: &Shape, names: &[String]| -> Option<Vec<usize>> {
                names.iter().map(|name| shape.table.position(name)).collect()
            };
            let (Some(child_at), Some(parent_at)) = (at(child, &key.columns), at(parent, &key.parent_columns)) else {
                continue;
            };
            links.push(Link::new(child.clone(), parent.clone(), child_at, parent_at, number));
        }
    }
    links
}

impl Link {
    fn new(child: Arc<Shape>, parent: Arc<Shape>, child_at: Vec<usize>, parent_at: Vec<usize>, number: usize) -> Link {
        let mut sorted = (parent_at.clone(), parent.key_at.clone());
        sorted.0.sort_unstable();
        sorted.1.sort_unstable();
        let c = |at: usize| format!("c.{}", ident(&child.names[at]));
        let p = |at: usize| format!("p.{}", ident(&parent.names[at]));
        let pairs = || child_at.iter().copied().zip(parent_at.iter().copied());
        let join = |parts: Vec<String>| parts.join(" AND ");
        let (on_child, on_parent) = (ident(&child.table.name), ident(&parent.table.name));
        let filled = join(child_at.iter().map(|at| format!("{} IS NOT NULL", c(*at))).collect());
        let matches = join(pairs().map(|(of, to)| format!("{} = {}", p(to), c(of))).collect());
        let dangling_sql = format!(
            "SELECT {} FROM {on_child} AS c WHERE {} AND {filled} \
             AND NOT EXISTS (SELECT 1 FROM {on_parent} AS p WHERE {matches})",
            child_at.iter().map(|at| c(*at)).collect::<Vec<_>>().join(", "),
            child.key_is("c.", 1),
        );
        // Compared as the parent compares; left alone where both do, for the index.
        let collate = |of: usize, to: usize| match &parent.table.columns[to].collation {
            theirs if *theirs == child.table.columns[of].collation => String::new(),
            theirs => format!(" COLLATE {}", theirs.as_deref().unwrap_or("BINARY")),
        };
        let named = pairs().enumerate().map(|(at, (of, to))| format!("{} = ?{}{}", c(of), at + 1, collate(of, to)));
        let held = parent_at.iter().enumerate().map(|(at, to)| format!("{} = ?{}", p(*to), at + 1));
        let children_sql = format!(
            "SELECT {} FROM {on_child} AS c WHERE {} \
             AND NOT EXISTS (SELECT 1 FROM {on_parent} AS p WHERE {})",
            child.key_at.iter().map(|at| c(*at)).collect::<Vec<_>>().join(", "),
            join(named.collect()),
            join(held.collect()),
        );
        let name = format!("_hub_link_{}_{number}", child.id);
        Link { to_key: sorted.0 == sorted.1, dangling_sql, children_sql, name, child, parent, child_at, parent_at }
    }

    /// The values the parent `row` is named by.
    pub fn named_by(&self, row: &[Value]) -> Row {
        self.parent_at.iter().map(|at| row[*at].clone()).collect()
    }

    /// The referring values of the child, if no parent has them.
    fn dangling(&self, db: &Connection, child: &Key) -> Result<Option<Row>> {
        let mut statement = db.prepare_cached(&self.dangling_sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(child.0.iter()))?;
        Ok(match rows.next()? {
            Some(row) => Some(value::read_row(row, 0, self.child_at.len())?),
            None => None,
        })
    }

    /// Keys of the children that name `values`, if no parent has them any more. Makes
    /// the index for it first: without one, each deleted parent is a scan of all children.
    fn orphans(&self, db: &Connection, values: &Row) -> Result<Vec<Key>> {
        let columns: Vec<String> = self.child_at.iter().map(|at| ident(&self.child.names[*at])).collect();
        db.execute_batch(&format!(
            "CREATE INDEX IF NOT EXISTS {} ON {}({})",
            ident(&self.name),
            ident(&self.child.table.name),
            columns.join(", ")
        ))?;
        let mut statement = db.prepare_cached(&self.children_sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            keys.push(Key::from(value::read_row(row, 0, self.child.key_at.len())?));
        }
        Ok(keys)
    }

    /// The parent's key, where the referring values give it.
    fn parent_key(&self, values: &Row) -> Vec<Value> {
        if !self.to_key {
            return Vec::new();
        }
        let place = |at: &usize| self.parent_at.iter().position(|to| to == at);
        let key = self.parent.key_at.iter().map(|at| place(at).map(|at| values[at].clone()));
        key.collect::<Option<_>>().unwrap_or_default()
    }
}

/// Changes that must not stand, by their place in the push, with what is in their way.
pub(super) type Offenders = HashMap<usize, Vec<WireOther>>;

/// Looks over what a push touched. A child that was put is to blame for its missing
/// parent; else whoever took the parent away. A child whose own deletion is among those
/// `stopped` stays, and so does its parent.
pub(super) fn offenders(db: &Connection, batch: &Batch, touched: &[Touched], stopped: &Offenders) -> Result<Offenders> {
    let links = &batch.schema.links;
    let mut found = Offenders::new();
    for one in touched.iter().filter(|one| one.is_put) {
        for link in links.iter().filter(|link| link.child.id == one.shape.id) {
            if batch.sets_any(one, &link.child_at)
                && let Some(values) = link.dangling(db, &one.key)?
            {
                let key = link.parent_key(&values);
                if taken_away(db, batch, link, &key)? {
                    let other = WireOther { table: link.parent.table.name.clone(), key };
                    found.entry(one.at).or_default().push(other);
                }
            }
        }
    }
    if !found.is_empty() {
        follow(batch, touched, &mut found);
        return Ok(found);
    }
    let stays: HashSet<(i64, Key)> = stopped.keys().filter_map(|at| batch.deletes(*at)).collect();
    for one in touched {
        for (link, values) in &one.given_up {
            let link = &links[*link];
            if values.iter().any(Value::is_null) {
                continue;
            }
            let others = found.entry(one.at).or_default();
            for key in link.orphans(db, values)? {
                let known = writing::known(db, link.child.id, &key.encode())?;
                let in_the_way = known.is_none_or(|known| batch.is_news(&known));
                let child = (link.child.id, key);
                if others.len() < OTHERS_MAX && (in_the_way || stays.contains(&child)) {
                    others.push(WireOther { table: link.child.table.name.clone(), key: child.1.0.to_vec() });
                }
            }
        }
        if found.get(&one.at).is_some_and(Vec::is_empty) {
            found.remove(&one.at);
        }
    }
    Ok(found)
}

/// Whether a child's missing parent is somebody else's doing, of which the sender did
/// not know; or comes with this push and did not get in. A reference to nothing that
/// is the app's own (many enforce no keys) is taken as it is.
fn taken_away(db: &Connection, batch: &Batch, link: &Link, key: &[Value]) -> Result<bool> {
    if batch.tries_to_put(link.parent.id, key) {
        return Ok(true);
    }
    if key.is_empty() {
        return Ok(false);
    }
    let known = writing::known(db, link.parent.id, &Key::from(key.to_vec()).encode())?;
    Ok(known.is_some_and(|known| known.gone() && batch.is_news(&known)))
}

/// Adds the new rows of this push that hang on an offending new row, however deep, so
/// that a long chain takes one more round and not one for each link.
fn follow(batch: &Batch, touched: &[Touched], found: &mut Offenders) {
    let links = &batch.schema.links;
    let mut children: HashMap<(usize, Row), Vec<usize>> = HashMap::new();
    for (place, one) in touched.iter().enumerate().filter(|(_, one)| one.is_put) {
        for (number, link) in links.iter().enumerate().filter(|(_, link)| link.child.id == one.shape.id) {
            if let Some(values) = batch.values_of(one, &link.child_at) {
                children.entry((number, values)).or_default().push(place);
            }
        }
    }
    let mut queue: Vec<usize> = (0..touched.len()).filter(|place| found.contains_key(&touched[*place].at)).collect();
    let mut done: HashSet<usize> = queue.iter().copied().collect();
    while let Some(place) = queue.pop() {
        let parent = &touched[place];
        if !parent.was_new {
            continue;
        }
        let other = WireOther { table: parent.shape.table.name.clone(), key: parent.key.0.to_vec() };
        for (number, link) in links.iter().enumerate().filter(|(_, link)| link.parent.id == parent.shape.id) {
            let Some(values) = batch.values_of(parent, &link.parent_at) else { continue };
            for child in children.get(&(number, values)).into_iter().flatten() {
                if done.insert(*child) {
                    found.entry(touched[*child].at).or_default().push(other.clone());
                    queue.push(*child);
                }
            }
        }
    }
}
