//! Everything at once: readers verify, writers transact, one thread compacts, and a sum never changes.
//!
//! It takes some seconds, or as many as `DIPTYCH_STRESS_SECONDS` says.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use diptych::{
    Durability, Error, MappedPage, PageId, PageReader, Pager, PagerOptions, ProtectedPageId, Result, SharedPager,
    Transaction,
};

const PAGE: usize = 4096;
const ACCOUNTS: usize = 64;
const SUM: u64 = 1000 * ACCOUNTS as u64;
const WRITERS: u64 = 4;
const READERS: u64 = 3;

type Account = ProtectedPageId<PAGE>;

/// What a thread does until it is over.
type Act = dyn FnOnce(&SharedPager<PAGE>, &[Account], &AtomicBool) + Send;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn account(&mut self, accounts: &[Account]) -> Account {
        let at = self.below(accounts.len() as u64);
        accounts[usize::try_from(at).unwrap()]
    }
}

fn field(page: &MappedPage<PAGE>, at: usize) -> u64 {
    u64::from_le_bytes(page[8 * at..8 * at + 8].try_into().unwrap())
}

fn set_field(page: &mut MappedPage<PAGE>, at: usize, value: u64) {
    page[8 * at..8 * at + 8].copy_from_slice(&value.to_le_bytes());
}

/// An account has a balance, the id of a regular page, and the stamp of which that is full.
const BALANCE: usize = 0;
const DETAIL: usize = 1;
const STAMP: usize = 2;

fn detail(account: &MappedPage<PAGE>) -> PageId<PAGE> {
    PageId::from_u64(field(account, DETAIL)).unwrap()
}

fn write_detail(transaction: &mut Transaction<'_, PAGE>, account: Account, stamp: u64) -> Result<()> {
    let page = transaction.alloc()?;
    (0..PAGE / 8)
        .map(|at| (at, stamp))
        .for_each(|(at, stamp)| set_field(transaction.page_mut(page).unwrap(), at, stamp));
    let entry = transaction.protected_mut(account)?;
    set_field(entry, DETAIL, page.to_u64());
    set_field(entry, STAMP, stamp);
    Ok(())
}

/// The invariant: nothing is lost, and every account's page is its own.
fn verify(reader: &PageReader<PAGE>, accounts: &[Account]) {
    let mut sum = 0;
    for account in accounts {
        let entry = reader.protected(*account).unwrap();
        sum += field(entry, BALANCE);
        let page = reader.page(detail(entry)).unwrap();
        assert!((0..PAGE / 8).all(|at| field(page, at) == field(entry, STAMP)), "a page is not its account's");
    }
    assert_eq!(sum, SUM);
}

/// One change of any kind. Some fail, some panic, and some pass through the file's end.
fn change(pager: &SharedPager<PAGE>, accounts: &[Account], random: &mut Random, stamp: u64) -> Result<()> {
    let (from, to) = (random.account(accounts), random.account(accounts));
    let kind = random.below(20);
    let amount = random.below(50);
    pager.transact(|transaction| {
        match kind {
            0..3 => transaction.set_durability(Durability::None),
            3 => transaction.set_durability(Durability::TwoBarriers),
            _ => {}
        }
        let have = field(transaction.protected(from)?, BALANCE);
        if from != to && have >= amount {
            set_field(transaction.protected_mut(from)?, BALANCE, have - amount);
            let held = field(transaction.protected(to)?, BALANCE);
            set_field(transaction.protected_mut(to)?, BALANCE, held + amount);
        }
        if kind.is_multiple_of(2) {
            let old = detail(transaction.protected(from)?);
            write_detail(transaction, from, stamp)?;
            transaction.free(old)?;
        }
        match kind {
            5 => {
                let many = transaction.alloc_bulk(300)?;
                transaction.free_bulk(&many)
            }
            6 => Err(Error::StaleSavepoint),
            7 => resume_unwind(Box::new("of a closure")),
            _ => Ok(()),
        }
    })
}

fn write(pager: &SharedPager<PAGE>, accounts: &[Account], seed: u64, over: &AtomicBool, commits: &AtomicU64) {
    let mut random = Random(seed);
    for round in 1.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let stamp = seed << 48 | round;
        match catch_unwind(AssertUnwindSafe(|| change(pager, accounts, &mut random, stamp))) {
            Ok(Ok(())) => {
                commits.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Err(Error::StaleSavepoint)) => {}
            Ok(Err(error)) => panic!("{error}"),
            Err(panic) => assert_eq!(panic.downcast_ref(), Some(&"of a closure")),
        }
    }
}

fn read(pager: &SharedPager<PAGE>, accounts: &[Account], over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let guard = pager.read();
        verify(&guard, accounts);
        verify(&pager.read(), accounts);
        assert!(guard.durable_generation() <= guard.generation());
    }
}

fn compact(pager: &SharedPager<PAGE>, accounts: &[Account], over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
        let compacted = pager.exclusive(|pager| {
            pager.compact(200, |transaction, from, to| {
                for account in accounts {
                    if detail(transaction.protected(*account)?) == from {
                        set_field(transaction.protected_mut(*account)?, DETAIL, to.to_u64());
                    }
                }
                Ok::<_, Error>(())
            })?;
            pager.shrink()
        });
        compacted.expect("not reentered").expect("nothing fails");
        let findings = pager.read().check();
        assert!(findings.is_empty(), "{findings:?}");
    }
}

fn accounts(pager: &mut Pager<PAGE>) -> Result<Vec<Account>> {
    let mut transaction = pager.transaction()?;
    let accounts = transaction.alloc_protected_bulk(ACCOUNTS)?;
    for account in &accounts {
        write_detail(&mut transaction, *account, 0)?;
        set_field(transaction.protected_mut(*account)?, BALANCE, SUM / ACCOUNTS as u64);
    }
    transaction.commit()?;
    Ok(accounts)
}

#[test]
fn nothing_is_lost_or_torn_while_threads_read_write_and_compact() {
    let seconds = env::var("DIPTYCH_STRESS_SECONDS").map_or(8, |seconds| seconds.parse().expect("a number of seconds"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pages");
    let mut pager = PagerOptions::new().create::<PAGE>(&path).unwrap();
    let accounts: Arc<[Account]> = accounts(&mut pager).unwrap().into();
    let pager = SharedPager::new(pager);
    let (over, commits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));

    let run = |act: Box<Act>| {
        let (pager, accounts, over) = (pager.clone(), Arc::clone(&accounts), Arc::clone(&over));
        thread::spawn(move || act(&pager, &accounts, &over))
    };
    let mut threads = vec![run(Box::new(compact))];
    threads.extend((0..READERS).map(|_| run(Box::new(read))));
    threads.extend((1..=WRITERS).map(|seed| {
        let commits = Arc::clone(&commits);
        run(Box::new(move |pager, accounts, over| write(pager, accounts, seed, over, &commits)))
    }));
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end && threads.iter().all(|thread| !thread.is_finished()) {
        thread::sleep(Duration::from_millis(20));
    }
    over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    println!("{} commits in {seconds} s", commits.load(Ordering::Relaxed));

    verify(&pager.read(), &accounts);
    pager.into_pager().expect("all threads have ended").close().unwrap();
    let pager = Pager::<PAGE>::open(&path).unwrap();
    verify(&pager, &accounts);
    assert!(pager.check().is_empty());
    assert_eq!(pager.allocated_page_count(), ACCOUNTS as u64);
}
