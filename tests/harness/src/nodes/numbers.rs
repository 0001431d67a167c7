//! Decides which number a new node or pod of the pool gets. Pure.

use std::collections::BTreeSet;

/// Hands out numbers of a range; one that was given back is taken again as late as possible, so that nobody mistakes
/// a new pod for the old one that had its address.
#[derive(Debug)]
pub(crate) struct Numbers {
    first: u8,
    last: u8,
    next: u8,
    used: BTreeSet<u8>,
}

impl Numbers {
    pub(crate) fn new(first: u8, last: u8) -> Self {
        Self {
            first,
            last,
            next: first,
            used: BTreeSet::new(),
        }
    }

    /// `None` when all are taken.
    pub(crate) fn take(&mut self) -> Option<u8> {
        let number = (self.next..=self.last)
            .chain(self.first..self.next)
            .find(|n| !self.used.contains(n))?;
        self.used.insert(number);
        self.next = if number == self.last {
            self.first
        } else {
            number + 1
        };
        Some(number)
    }

    pub(crate) fn give_back(&mut self, number: u8) {
        self.used.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_number_is_taken_last() {
        let mut numbers = Numbers::new(2, 4);
        assert_eq!((numbers.take(), numbers.take()), (Some(2), Some(3)));
        numbers.give_back(2);
        assert_eq!(
            (numbers.take(), numbers.take(), numbers.take()),
            (Some(4), Some(2), None)
        );
        numbers.give_back(3);
        assert_eq!(numbers.take(), Some(3));
    }
}
