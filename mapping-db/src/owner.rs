/// A process that does work in the store, as others can check whether it still lives: the offset of a byte that it
/// keeps locked in the owners' file. Process numbers would not do, they mean something else in every container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnerId(pub(crate) i64);
