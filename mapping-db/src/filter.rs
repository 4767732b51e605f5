use crate::ObjectClass;

/// What a search can narrow with an index. Whoever searches compares every other attribute itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectFilter {
    /// Only objects of this class.
    pub class: Option<ObjectClass>,
    /// Only objects with exactly these bytes as `CKA_ID`.
    pub cka_id: Option<Vec<u8>>,
    /// Only objects with exactly these bytes as `CKA_LABEL`.
    pub label: Option<Vec<u8>>,
}
