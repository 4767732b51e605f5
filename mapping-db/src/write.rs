/// An open write transaction.
#[derive(Debug)]
pub struct WriteTx<'a> {
    _tx: rusqlite::Transaction<'a>,
}
