//! What pagers of this kind are known to get wrong, each as a fact about this one, in its full breadth.
//!
//! | known hole | fact |
//! |---|---|
//! | a superblock that is rewritten in place and torn makes the file unopenable | `a_superblock_torn_at_any_byte_opens_at_the_commit_before_or_after` |
//! | one flipped bit of the bitmap rolls back silently and hands a committed page out twice | `no_flipped_bit_of_free_map_or_metadata_rolls_back_or_hands_a_page_out_twice` |
//! | one flipped bit hides protected pages | `no_flipped_bit_of_the_directory_hides_a_protected_page` |
//! | a full disk kills the process | `a_store_to_a_page_that_was_handed_out_never_meets_a_full_disk`, `a_full_tmpfs_is_a_clean_error_and_never_a_signal` and `a_full_ext4_is_a_clean_error_and_never_a_signal` of `tests/processes.rs` |
//! | growth past one bitmap page panics | `a_file_grows_over_every_border_of_the_free_map_and_may_be_cut_off_there` |
//! | a crafted page count truncates the file | `a_crafted_page_count_cuts_off_no_page_that_is_in_use` |
//! | a stored checksum is never verified | `every_stored_checksum_is_compared_at_every_link_of_the_chain` |
//! | two openers allocate the same page | `a_second_opener_is_refused_before_it_reads_a_byte`, `of_processes_that_race_to_open_no_two_get_the_same_page`, `a_second_opener_is_refused_in_this_process_in_another_and_through_a_link` |
//! | after a failed sync memory and disk disagree, or the retry succeeds | `after_any_failed_sync_every_retry_is_refused_and_the_disk_holds_what_was_acknowledged` |
//! | most crash states of one checkpoint do not open, or lose live pages | `every_subset_of_the_sectors_of_a_commit_opens_and_loses_nothing` |
//! | a flag that is cleared too early loses a write that a checkpoint covered | `a_store_is_durable_after_the_next_success_whatever_came_between` |

#![cfg(unix)]

mod crashes;
mod damage;
mod openers;
#[path = "../processes/second_process.rs"]
mod second_process;
mod space;
