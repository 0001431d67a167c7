//! Objects of one kind by id, with what changed since the last call: a refused call leaves nothing, and an accepted one goes into the
//! history. Decides.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Objects by id.
#[derive(Clone, Debug)]
pub struct Table<T> {
    items: BTreeMap<String, Arc<T>>,
    /// What was there before, of each object that changed.
    before: BTreeMap<String, Option<Arc<T>>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            items: BTreeMap::new(),
            before: BTreeMap::new(),
        }
    }
}

/// One object as it was after a change; none when it is gone.
#[derive(Clone, Debug)]
pub(crate) struct Change<T> {
    id: String,
    after: Option<Arc<T>>,
}

impl<T: Clone> Table<T> {
    /// The object with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&T> {
        self.items.get(id).map(|item| &**item)
    }

    /// All objects by their ids, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &T)> {
        self.items.iter().map(|(id, item)| (id.as_str(), &**item))
    }

    /// All objects.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.items.values().map(|item| &**item)
    }

    /// One that is like this.
    pub fn find(&self, like: impl Fn(&T) -> bool) -> Option<&T> {
        self.values().find(|item| like(item))
    }

    /// Whether one is like this.
    pub fn any(&self, like: impl Fn(&T) -> bool) -> bool {
        self.find(like).is_some()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut T> {
        let item = self.items.get_mut(id)?;
        if !self.before.contains_key(id) {
            self.before.insert(id.to_owned(), Some(Arc::clone(item)));
        }
        Some(Arc::make_mut(item))
    }

    pub(crate) fn insert(&mut self, id: String, item: T) {
        let before = self.items.insert(id.clone(), Arc::new(item));
        self.before.entry(id).or_insert(before);
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Arc<T>> {
        let before = self.items.remove(id)?;
        self.before
            .entry(id.to_owned())
            .or_insert_with(|| Some(Arc::clone(&before)));
        Some(before)
    }

    pub(crate) fn undo(&mut self) {
        for (id, before) in std::mem::take(&mut self.before) {
            match before {
                Some(before) => self.items.insert(id, before),
                None => self.items.remove(&id),
            };
        }
    }

    /// Those that were not there before the last changes.
    pub(crate) fn made(&self) -> impl Iterator<Item = &str> {
        let made = self.before.iter().filter(|(_, before)| before.is_none());
        made.map(|(id, _)| &**id)
    }

    pub(crate) fn take_changes(&mut self) -> Vec<Change<T>> {
        let changed = std::mem::take(&mut self.before).into_keys();
        changed
            .map(|id| Change {
                after: self.items.get(&id).cloned(),
                id,
            })
            .collect()
    }

    pub(crate) fn apply(&mut self, changes: &[Change<T>]) {
        for change in changes {
            match &change.after {
                Some(after) => self.items.insert(change.id.clone(), Arc::clone(after)),
                None => self.items.remove(&change.id),
            };
        }
    }
}
