//! Objects and their attributes.

use std::sync::Arc;

use holdfast_mapping_db::{KeyRecord, NewObjectRow, ObjectClass, ObjectId, ObjectRecord};

use crate::generate::{BYTES_LIMIT, LABEL_LIMIT, check_length};
use crate::{Error, Keystore};

/// An object and the key it shows.
#[derive(Clone, Debug)]
pub struct Object {
    /// The object's own attributes.
    pub record: ObjectRecord,
    /// The key, shared between its objects.
    pub key: Arc<KeyRecord>,
}

/// New values of an object; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectChange {
    /// `CKA_ID`.
    pub cka_id: Option<Vec<u8>>,
    /// `CKA_LABEL`. At most 255 bytes.
    pub label: Option<Vec<u8>>,
    /// `CKA_PRIVATE`; only a copy may change it.
    pub private: Option<bool>,
    /// `CKA_MODIFIABLE`; only a copy may change it.
    pub modifiable: Option<bool>,
    /// `CKA_DESTROYABLE`.
    pub destroyable: Option<bool>,
    /// `CKA_COPYABLE`.
    pub copyable: Option<bool>,
    /// `CKA_SIGN`.
    pub sign: Option<bool>,
    /// `CKA_VERIFY`.
    pub verify: Option<bool>,
    /// `CKA_DERIVE`.
    pub derive: Option<bool>,
    /// `CKA_SUBJECT`.
    pub subject: Option<Vec<u8>>,
    /// `CKA_START_DATE`; the inner `None` makes it empty.
    pub start_date: Option<Option<[u8; 8]>>,
    /// `CKA_END_DATE`; the inner `None` makes it empty.
    pub end_date: Option<Option<[u8; 8]>>,
}

impl ObjectChange {
    fn check(&self) -> Result<(), Error> {
        check_length("CKA_ID", self.cka_id.as_deref(), BYTES_LIMIT)?;
        check_length("CKA_LABEL", self.label.as_deref(), LABEL_LIMIT)?;
        check_length("CKA_SUBJECT", self.subject.as_deref(), BYTES_LIMIT)
    }

    fn apply(&self, object: &mut ObjectRecord) {
        fn set<T: Clone>(field: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                field.clone_from(value);
            }
        }
        set(&mut object.cka_id, &self.cka_id);
        set(&mut object.label, &self.label);
        set(&mut object.private, &self.private);
        set(&mut object.modifiable, &self.modifiable);
        set(&mut object.destroyable, &self.destroyable);
        set(&mut object.copyable, &self.copyable);
        set(&mut object.sign, &self.sign);
        set(&mut object.verify, &self.verify);
        set(&mut object.derive, &self.derive);
        set(&mut object.subject, &self.subject);
        set(&mut object.start_date, &self.start_date);
        set(&mut object.end_date, &self.end_date);
    }
}

impl Keystore {
    /// Changes an object's attributes, all of them or none. Whether they may be changed is for the caller to decide.
    pub fn update_object(&self, id: ObjectId, change: &ObjectChange) -> Result<Object, Error> {
        change.check()?;
        let changed = self.with_store(|store| {
            let owner = store.known_owner();
            store.write(|tx| {
                let Some((mut object, key)) = tx.visible_object(id, owner)? else {
                    return Err(Error::NoSuchObject(id));
                };
                change.apply(&mut object);
                tx.update_object(&object)?;
                Ok((object, key))
            })
        })?;
        self.step("update: recorded");
        let (record, key) = changed.ok_or(Error::NoSuchObject(id))?;
        Ok(Object { record, key: Arc::new(key) })
    }

    /// Makes a token object of a session object of this process. Of a private one, the token then owns the device's
    /// key, through the new object and a public token object made with it: ending the session objects no longer touches
    /// the device. Answers the new object of the same class.
    pub fn token_key_from_session_key(&self, id: ObjectId, change: &ObjectChange) -> Result<Object, Error> {
        change.check()?;
        let made = self.with_store(|store| {
            let owner = store.known_owner();
            store.write(|tx| {
                let Some((object, key)) = tx.visible_object(id, owner)? else {
                    return Err(Error::NoSuchObject(id));
                };
                if !object.session {
                    return Err(Error::Unsupported("only a session object of a mapped key can be copied to the token"));
                }
                let mut copy = object.clone();
                change.apply(&mut copy);
                let new = tx.insert_object(&token_row(&copy))?;
                if object.class == ObjectClass::PrivateKey {
                    tx.make_token_key(key.id)?;
                    let halves = tx.objects_of_key(key.id)?;
                    let public = halves.iter().find(|half| half.class == ObjectClass::PublicKey && half.session);
                    let mut public = public.cloned().unwrap_or_else(|| public_half(&copy));
                    public.cka_id.clone_from(&copy.cka_id);
                    if change.label.is_some() {
                        public.label.clone_from(&copy.label);
                    }
                    tx.insert_object(&token_row(&public))?;
                }
                tx.visible_object(new, owner)?.ok_or(Error::NoSuchObject(new))
            })
        })?;
        self.step("copy: recorded");
        let (record, key) = made.ok_or(Error::NoSuchObject(id))?;
        tracing::info!(node = key.node(), slot = key.slot, token = key.token_label, "a session key became a token key");
        Ok(Object { record, key: Arc::new(key) })
    }
}

fn token_row(object: &ObjectRecord) -> NewObjectRow {
    NewObjectRow {
        key: object.key,
        class: object.class,
        session_owner: None,
        cka_id: object.cka_id.clone(),
        label: object.label.clone(),
        private: object.private,
        modifiable: object.modifiable,
        destroyable: object.destroyable,
        copyable: false,
        sign: object.sign,
        verify: object.verify,
        derive: object.derive,
        subject: object.subject.clone(),
        start_date: object.start_date,
        end_date: object.end_date,
    }
}

/// The public object that goes with a private one, when its own was destroyed before.
fn public_half(private: &ObjectRecord) -> ObjectRecord {
    ObjectRecord { class: ObjectClass::PublicKey, private: false, sign: false, verify: private.sign, ..private.clone() }
}
