"""Errors that are left to other tests, with the reason."""

from typing import NamedTuple


class Elsewhere(NamedTuple):
    """An error that no command of the list causes."""

    place: str  # file and function
    words: str  # in the message, where the function has others
    why: str
    test: str  # that causes it


PROCESSES = "it takes several processes"
COMPILER = "it takes libtpu, and minutes"
PEERS = "it takes a comparison with peers"
ELSEWHERE = [
    *(
        Elsewhere(
            f"jaxmusic/preparation/records.py:{function}", "", "a file that is changed while it is used",  # noqa: E501
            f"preparation/test_records.py:{test}",
        )
        for function, test in (
            ("read_songs", "test_songs_are_read_together_and_checked"),
            ("_line", "test_a_corpus_that_is_changed_while_it_is_used_is_an_error"),
            ("_read_ids", "test_a_corpus_that_is_changed_while_it_is_used_is_an_error"),
            ("crcs", "test_another_corpus_in_its_place_is_not_taken_for_it"),
        )
    ),
    Elsewhere(
        "jaxmusic/preparation/corpus_folder.py:replace_folder", "was changed by another process",
        "two processes whose lock failed",
        "preparation/test_corpus_folder.py:test_a_corpus_that_another_process_put_there_meanwhile_stays",
    ),
    Elsewhere(
        "jaxmusic/run_dir/checkpoint_dir.py:_refuse_other_training", "", "two trainings whose lock failed",  # noqa: E501
        "run_dir/test_checkpoint.py:test_a_training_stops_where_another_one_saved",
    ),
    Elsewhere(
        "jaxmusic/storage/file_lock.py:check", "", "a host that was frozen while another took over",
        "storage/test_file_lock.py:test_an_owner_sees_that_its_lock_is_taken_over",
    ),
    Elsewhere(
        "jaxmusic/cli.py:_answer", "", "the command `jaxmusic` is not a script",
        "test_cli.py:test_a_command_line_without_a_known_command_is_an_error",
    ),
    Elsewhere(
        "scripts/dev/tools/make_songs.py:_refuse_another_song", "", "composing takes a minute",
        "dev/test_songs.py:test_a_piece_replaces_no_other_file",
    ),
    Elsewhere(
        "jaxmusic/distributed/processes.py:agree", "", PROCESSES, "end_to_end/test_processes.py:test_what_differs_is_named"  # noqa: E501
    ),
    Elsewhere(
        "jaxmusic/distributed/processes.py:_start_jax", "", "hosts that can't reach each other",
        "end_to_end/test_processes.py:test_what_jax_itself_fails_at_is_told",
    ),
    Elsewhere(
        "jaxmusic/distributed/rendezvous.py:wait", "reason", PROCESSES,
        "distributed/test_rendezvous.py:test_a_meeting_that_not_all_come_to",
    ),
    Elsewhere(
        "jaxmusic/distributed/rendezvous.py:wait", "_failure", PROCESSES,
        "distributed/test_rendezvous.py:test_a_disagreement_is_told_to_all",
    ),
    Elsewhere(
        "jaxmusic/distributed/rendezvous.py:call", "", PROCESSES,
        "end_to_end/test_processes.py:test_who_waits_for_others_in_vain_is_told",
    ),
    Elsewhere(
        "jaxmusic/distributed/rendezvous.py:_introduce", "refused", PROCESSES,
        "distributed/test_rendezvous.py:test_another_training_is_refused_at_any_time",
    ),
    Elsewhere(
        "jaxmusic/distributed/rendezvous.py:_introduce", "is not a training", "another program at a port",  # noqa: E501
        "distributed/test_rendezvous.py:test_something_else_that_listens_is_told",
    ),
    Elsewhere(
        "jaxmusic/distributed/rendezvous.py:_introduce", "Process 0 ended", PROCESSES,
        "distributed/test_rendezvous.py:test_the_end_of_process_0_is_told_to_those_who_wait",
    ),
    Elsewhere(
        "jaxmusic/distributed/cluster.py:_detect", "", "it takes the variables of a cluster",
        "distributed/test_cluster.py:test_variables_of_a_cluster_that_do_not_fit",
    ),
    Elsewhere(
        "jaxmusic/distributed/cluster.py:find_placement", "", "it takes the variables of a cluster",
        "distributed/test_cluster.py:test_variables_of_a_cluster_that_do_not_fit",
    ),
    Elsewhere(
        "jaxmusic/distributed/cluster.py:listen", "", "another program at a port",
        "distributed/test_cluster.py:test_a_port_that_is_taken_is_told",
    ),
    Elsewhere(
        "jaxmusic/trainer.py:fit", "", "the scripts always give a --run-dir",
        "test_trainer.py:test_a_run_needs_a_folder",
    ),
    Elsewhere(
        "jaxmusic/run_dir/checkpoint.py:_wait", "", "a disk that is full in the midst of a training",  # noqa: E501
        "run_dir/test_checkpoint.py:test_a_failed_save_is_reported_and_changes_nothing",
    ),
    Elsewhere(
        "jaxmusic/run_dir/checkpoint_dir.py:adding", "", "a folder that vanishes in the midst of a training",  # noqa: E501
        "run_dir/test_checkpoint_files.py:test_a_folder_that_vanished_is_reported_and_not_created_again",
    ),
    Elsewhere(
        "jaxmusic/benchmarks/harness/process.py:_ask", "", PEERS,
        "benchmarks/test_benchmark.py:test_wrong_and_missing_peers_are_told_and_the_others_measured",
    ),
    Elsewhere(
        "jaxmusic/benchmarks/training.py:check_losses", "", PEERS,
        "benchmarks/test_benchmark.py:test_losses_must_be_equal",
    ),
    Elsewhere(
        "jaxmusic/benchmarks/session.py:run_session", "refused", PEERS,
        "benchmarks/test_benchmark.py:test_wrong_and_missing_peers_are_told_and_the_others_measured",
    ),
    Elsewhere(
        "jaxmusic/runtime/limits.py:_allow", "", "a machine that lacks memory or files",
        "runtime/test_limits.py:test_too_little_is_told_in_a_sentence",
    ),
    Elsewhere(
        "jaxmusic/run_dir/checkpoint_dir.py:report_damage", "", "a lack of memory or files",
        "run_dir/test_checkpoint_damage.py:test_a_shortage_of_the_system_is_not_damage",
    ),
    Elsewhere(
        "jaxmusic/run_dir/checkpoint_dir.py:_refuse_foreign", "", "what comes while a training is at work",  # noqa: E501
        "run_dir/test_checkpoint_files.py:test_foreign_content_under_a_steps_name_is_refused_and_kept",
    ),
    Elsewhere(
        "scripts/dev/tools/inject_faults.py:_demand", "", "no user's mistake: its findings",
        "dev/test_inject_faults.py:test_a_broken_promise_is_told",
    ),
    Elsewhere(
        "scripts/dev/tools/fuzz_midi.py:main", "promises", "no user's mistake: its findings",
        "dev/test_fuzz_midi.py:test_a_broken_promise_is_told_and_its_file_kept",
    ),
    Elsewhere(
        "jaxmusic/aot/compiling.py:make_topology_mesh", "", COMPILER,
        "aot/test_compile_tpu.py:test_a_topology_that_libtpu_does_not_know_is_told",
    ),
    Elsewhere(
        "jaxmusic/aot/compiling.py:compile_training", "", COMPILER,
        "aot/test_compile_tpu.py:test_a_program_that_cannot_be_read_back_is_told",
    ),
    Elsewhere(
        "jaxmusic/aot/compiling.py:read_error", "", COMPILER,
        "aot/test_compile_tpu.py:test_what_the_compiler_says_of_memory",
    ),
    Elsewhere(
        "jaxmusic/aot/session.py:run_report", "", COMPILER,
        "aot/test_compile_tpu.py:test_a_batch_that_does_not_fit_is_told_and_is_an_error",
    ),
    Elsewhere(
        "jaxmusic/aot/hlo.py:read_module", "", "a compiler that writes programs otherwise",
        "aot/test_compile_tpu.py:test_a_loop_inside_a_step_must_be_known",
    ),
    Elsewhere(
        "jaxmusic/aot/hlo.py:_executed", "", "a compiler that writes programs otherwise",
        "aot/test_compile_tpu.py:test_a_loop_inside_a_step_must_be_known",
    ),
]  # fmt: skip
