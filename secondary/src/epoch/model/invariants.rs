//! What must be true of the world at every moment: one writer, and every acknowledged write where the next one finds it.

use super::world::{Block, Content, Inode, Name, World, file_in};

impl World {
    pub(super) fn writes_in<'a>(&'a self, folder: &str, view: impl Fn(&'a Inode) -> &'a Content) -> u8 {
        ["store.db", "store.db-wal"]
            .iter()
            .filter_map(|name| self.names.get(&file_in(folder, name)))
            .map(|file| match view(&self.files[file]) {
                Content::Store(writes) | Content::Log { writes, .. } => *writes,
                _ => 0,
            })
            .fold(0, |all, writes| all | writes)
    }

    fn epochs(&self) -> impl Iterator<Item = (u64, Seen)> {
        self.names.iter().filter_map(|(name, file)| {
            let number = name.strip_prefix("/epoch/")?.parse().ok()?;
            Some((number, Seen::of(&self.files[file].now)?))
        })
    }

    fn seal_is_set(&self, number: u64) -> bool {
        let seal = self.names.get(&*format!("/epoch/{number}.seal"));
        seal.is_some_and(|seal| self.files[seal].now != Content::Blocks(vec![Block::Zeros]))
    }

    /// Whether the epoch that made this data folder has a successor.
    pub(super) fn is_sealed(&self, folder: &str) -> bool {
        let number = folder.rsplit_once('-').and_then(|(_, number)| number.parse().ok());
        number.is_some_and(|number| self.seal_is_set(number))
    }

    /// What must be true at every moment.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let complete: Vec<_> = self.epochs().filter(|(_, epoch)| epoch.complete).collect();
        if complete.iter().filter(|(number, _)| !self.seal_is_set(*number)).count() > 1 {
            return Err("two epochs are complete and not sealed".to_owned());
        }
        let survivor = complete.iter().max_by_key(|(number, _)| *number);
        let kept = survivor.map_or(0, |(_, epoch)| self.writes_in(&epoch.data, |inode| &inode.now));
        if self.acknowledged & !kept != 0 {
            return Err("the newest complete epoch lacks an acknowledged write".to_owned());
        }
        let stable = self.names.iter().filter_map(|(name, file)| {
            let number: u64 = name.strip_prefix("/epoch/")?.parse().ok()?;
            Some((number, Seen::of(&self.files[file].stable).filter(|epoch| epoch.complete)?))
        });
        let survivor = stable.max_by_key(|(number, _)| *number);
        let kept = survivor.map_or(0, |(_, epoch)| self.writes_in(&epoch.data, |inode| &inode.stable));
        if self.acknowledged & !kept != 0 {
            return Err("an acknowledged write would be lost with the power".to_owned());
        }
        Ok(())
    }
}

/// What of an epoch's file the checks look at.
struct Seen {
    complete: bool,
    data: Name,
}

impl Seen {
    fn of(content: &Content) -> Option<Self> {
        let Content::Blocks(blocks) = content else { return None };
        let [Block::Text(identity), _, complete, _] = blocks.as_slice() else { return None };
        let identity: crate::epoch::files::Identity = serde_json::from_slice(identity).ok()?;
        let complete = matches!(complete, Block::Text(text) if **text == *b"complete");
        Some(Self { complete, data: format!("/{}", identity.data).into() })
    }
}
