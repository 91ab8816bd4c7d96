//! An embedded database as a reference: redb, every transaction durable before it is answered.

use std::io;
use std::time::Instant;

use redb::{Database, Durability, TableDefinition};
use shared::secret::random_bytes;

use crate::stats::{Samples, progress};

const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");

/// As long as a commit of ours is on average.
const RECORD: [u8; 400] = [b'x'; 400];

/// A database with `records` records in it.
pub struct Reference {
    database: Database,
    _folder: tempfile::TempDir,
}

impl Reference {
    /// Makes one.
    pub fn with(records: u64) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let database = Database::create(folder.path().join("reference.redb")).map_err(io::Error::other)?;
        let this = Self { database, _folder: folder };
        for begun in (0..records).step_by(20_000) {
            progress(&format!("redb: {begun} of {records} records"));
            this.write((records - begun).min(20_000), Durability::None)?;
        }
        this.write(1, Durability::Immediate)?;
        Ok(this)
    }

    /// Commits of `writers` that each wait for their answer: how many a second, and how long each took. Everybody who
    /// waits shares one transaction, as in a store of ours, and here without anybody having to be woken: the best
    /// that can be made of it.
    pub fn commits(&self, writers: u64, seconds: f64) -> io::Result<(f64, Samples)> {
        let (begun, mut samples, mut count) = (Instant::now(), Samples::default(), 0.0);
        while begun.elapsed().as_secs_f64() < seconds {
            let start = Instant::now();
            self.write(writers, Durability::Immediate)?;
            samples.add(start.elapsed());
            #[expect(clippy::cast_precision_loss, reason = "a count")]
            let committed = writers as f64;
            count += committed;
        }
        Ok((count / begun.elapsed().as_secs_f64(), samples))
    }

    fn write(&self, records: u64, durability: Durability) -> io::Result<()> {
        let mut transaction = self.database.begin_write().map_err(io::Error::other)?;
        transaction.set_durability(durability).map_err(io::Error::other)?;
        {
            let mut table = transaction.open_table(RECORDS).map_err(io::Error::other)?;
            for _ in 0..records {
                table.insert(random_bytes::<32>().as_slice(), RECORD.as_slice()).map_err(io::Error::other)?;
            }
        }
        transaction.commit().map_err(io::Error::other)
    }
}
