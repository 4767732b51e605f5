use crate::{Location, StoreError, WriteTx};

/// An open store.
#[derive(Debug)]
pub struct Store {}

impl Store {
    /// Opens the store as permissions allow; `None` when there is none yet.
    pub fn open(_location: &Location) -> Result<Option<Self>, StoreError> {
        todo!()
    }

    /// Opens the store and makes it first where there is none.
    pub fn open_or_create(_location: &Location) -> Result<Self, StoreError> {
        todo!()
    }

    /// Runs `change` in one immediate transaction.
    pub fn write<T, E: From<StoreError>>(
        &mut self,
        _change: impl FnOnce(&WriteTx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        todo!()
    }
}
