//! Publications of one connection reach others in the order in which they came (`[MQTT-4.6.0-6]`), also when only some of
//! them have to wait for the disk.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

type Work = Box<dyn FnOnce()>;

/// See the module. One for each connection, not shared between threads.
#[derive(Default)]
pub(super) struct Order {
    /// The number of the first place in `behind`.
    first: Cell<u64>,
    /// What waits: for its own time, or for what is before it.
    behind: RefCell<VecDeque<Place>>,
}

/// The order of a connection, which is not there until something is promised: most connections never publish.
#[derive(Default)]
pub(super) struct LazyOrder(OnceCell<Rc<Order>>);

impl LazyOrder {
    /// The order, if something waits in it.
    pub(super) fn behind(&self) -> Option<&Order> {
        self.0
            .get()
            .map(|order| &**order)
            .filter(|order| order.len() > 0)
    }

    /// Keeps a place.
    pub(super) fn promise(&self) -> Promise {
        self.0.get_or_init(Rc::default).promise()
    }
}

enum Place {
    /// It is not known yet what is to be done.
    Promised,
    /// It is, and comes after what is before.
    Known(Option<Work>),
}

/// A place for something that is not known yet. Dropping it gives the place up.
pub(super) struct Promise {
    /// `None` when it was kept.
    order: Option<Rc<Order>>,
    place: u64,
}

impl Order {
    /// What waits.
    pub(super) fn len(&self) -> usize {
        self.behind.borrow().len()
    }

    /// Does something as soon as all before it is done, at once if nothing is.
    pub(super) fn then(&self, work: impl FnOnce() + 'static) {
        let mut behind = self.behind.borrow_mut();
        if behind.is_empty() {
            drop(behind);
            work();
        } else {
            behind.push_back(Place::Known(Some(Box::new(work))));
        }
    }

    /// Keeps a place.
    pub(super) fn promise(self: &Rc<Self>) -> Promise {
        let mut behind = self.behind.borrow_mut();
        behind.push_back(Place::Promised);
        Promise {
            order: Some(self.clone()),
            place: self.first.get() + behind.len() as u64 - 1,
        }
    }

    fn keep(&self, place: u64, work: Option<Work>) {
        let index = usize::try_from(place - self.first.get()).expect("as many as are in memory");
        self.behind.borrow_mut()[index] = Place::Known(work);
        while let Some(work) = self.next() {
            work.into_iter().for_each(|work| work());
        }
    }

    /// The first, if it is known what is to be done.
    fn next(&self) -> Option<Option<Work>> {
        let mut behind = self.behind.borrow_mut();
        let Place::Known(work) = behind.front_mut()? else {
            return None;
        };
        let work = work.take();
        behind.pop_front();
        self.first.set(self.first.get() + 1);
        Some(work)
    }
}

impl Promise {
    /// It is known what is to be done in this place.
    pub(super) fn keep(mut self, work: impl FnOnce() + 'static) {
        if let Some(order) = self.order.take() {
            order.keep(self.place, Some(Box::new(work)));
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some(order) = self.order.take() {
            order.keep(self.place, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_early_waits_for_what_was_before() {
        let (order, done) = (Rc::new(Order::default()), Rc::new(RefCell::new(Vec::new())));
        let say = |word: &'static str| {
            let done = done.clone();
            move || done.borrow_mut().push(word)
        };
        order.then(say("at once"));
        let (one, two, three) = (order.promise(), order.promise(), order.promise());
        order.then(say("last"));
        three.keep(say("third"));
        assert_eq!(*done.borrow(), ["at once"]);
        one.keep(say("first"));
        assert_eq!(*done.borrow(), ["at once", "first"]);
        drop(two);
        assert_eq!(*done.borrow(), ["at once", "first", "third", "last"]);
        assert_eq!(order.len(), 0);
        assert_eq!(Rc::strong_count(&order), 1);
    }
}
