"""Which test shows what becomes of each attack, row by row; and that none of these tests is gone.

The rows are those of the list of attacks that approvals, records, ledger, trust and documents were built against. A row
is shown where the attack lives: by the pure judgement, by real Git, or by the installed command. Cases of the tables
beside this file carry the number of their row too.
"""

from __future__ import annotations

import ast
import functools
import json
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

TRANSITION = "attacks/test_transition_attacks.py::test_attack"
ROOT = "attacks/test_trust_root_attacks.py::test_attack"
APPROVAL = "attacks/test_approval_attacks.py::test_attack"
ROLLBACK = "attacks/test_rollback_attacks.py::test_a_way_back_or_down_that_nobody_declares"
POLICY = "acceptance/test_policy_attacks.py::"
STORY = "acceptance/test_policy_story.py::"
HOOK = "acceptance/test_policy_hook.py::"
ACTION = "acceptance/test_github_action.py::"
BRIDGE = "acceptance/test_policy_bridge.py::"
INSIDER = f"{STORY}test_a_lone_insider_does_not_take_a_policy_back"

ROWS: dict[int, tuple[str, ...]] = {
    1: (
        TRANSITION, APPROVAL, INSIDER, f"{STORY}test_a_forged_author_does_not_make_room_for_the_insider",
        f"{POLICY}test_39_a_ledger_that_is_gone_with_all_that_knew_it_is_no_way_back",
        f"{HOOK}test_whoever_signs_the_push_is_no_approver_of_it",
        f"{ACTION}test_whoever_opened_or_pushed_a_change_does_not_count_for_it",
    ),
    2: (TRANSITION, APPROVAL),
    3: (ROOT,),
    4: (TRANSITION, APPROVAL, "proof/test_root_chain.py::test_a_version_counts_when_thresholds_of_both_versions_are_met"),
    5: (ROOT, "attacks/test_proof_attacks.py::test_key", "acceptance/test_trust.py::test_a_weak_key_or_one_of_another_type_is_refused",
        "proof/test_sshsig.py::test_a_weak_key_on_a_token_is_refused_like_any_other"),
    6: (APPROVAL, "proof/test_sshsig.py::test_a_bent_signature_is_refused_for_what_is_bent"),
    7: (APPROVAL, ROOT, "attacks/test_proof_attacks.py::test_envelope", "repo/test_attestations.py::test_a_flood_is_told_and_not_read"),
    8: (TRANSITION, APPROVAL, "proof/test_root_chain.py::test_a_root_is_no_approval_and_an_approval_no_root"),
    9: (TRANSITION, APPROVAL, ROOT),
    10: (TRANSITION, APPROVAL, ROOT),
    11: (TRANSITION, APPROVAL, "acceptance/test_break_glass.py::test_glass_stays_whole"),
    12: (TRANSITION, f"{POLICY}test_12_approvals_of_another_repository_with_the_same_objects_count_nothing"),
    13: (TRANSITION, APPROVAL, f"{POLICY}test_13_approvals_for_one_branch_count_nothing_for_another"),
    14: (TRANSITION, f"{HOOK}test_one_more_byte_than_was_approved_is_refused",
         f"{ACTION}test_one_byte_after_the_approval_and_it_is_another_change"),
    15: (TRANSITION, "attacks/test_transition_attacks.py::test_the_base_may_move_outside_of_what_is_protected",
         f"{POLICY}test_15_approvals_die_when_the_base_moves_inside_of_what_is_protected"),
    16: (TRANSITION, f"{POLICY}test_16_the_same_approvals_allow_it_once", f"{STORY}test_a_force_push_is_no_way_back",
         f"{HOOK}test_a_force_push_is_a_rollback", f"{HOOK}test_the_protected_ref_cannot_be_deleted"),
    17: (TRANSITION, APPROVAL),
    18: (TRANSITION, "acceptance/test_trust.py::test_an_approval_dies_with_its_key"),
    19: (TRANSITION, "repo/test_past.py::test_a_commit_that_claims_to_be_old_is_no_older_than_those_before_it"),
    20: (TRANSITION, f"{HOOK}test_the_trust_root_travels_alone",
         f"{HOOK}test_a_looser_trust_root_waits_a_day_from_when_it_is_first_seen"),
    21: (ROOT,),
    22: (TRANSITION, ROOT, "acceptance/test_trust.py::test_an_old_version_replayed_is_refused",
         f"{POLICY}test_22_without_its_pin_nothing_goes_on",
         f"{POLICY}test_22_a_root_that_was_applied_is_the_oldest_that_counts"),
    23: (ROLLBACK, INSIDER, f"{STORY}test_what_nobody_proposed_is_found_out_with_its_evidence",
         "attacks/test_rollback_attacks.py::test_the_evidence_names_level_place_commit_and_date"),
    24: (ROLLBACK, "attacks/test_rollback_attacks.py::test_24_an_inventory_is_edited", INSIDER),
    25: ("attacks/test_rollback_attacks.py::test_25_a_revert_of_a_revert_is_a_way_forward_when_nothing_is_less_safe",
         "attacks/test_rollback_attacks.py::test_25_a_revert_of_a_revert_that_takes_something_away_is_a_rollback"),
    26: (f"{POLICY}test_26_a_repository_that_is_not_whole_is_not_judged_and_nothing_runs_by_it",
         f"{POLICY}test_26_what_is_replaced_is_read_as_it_was",
         "repo/test_objects.py::test_a_repository_that_is_not_whole_is_refused"),
    27: (f"{POLICY}test_27_objects_with_other_content_under_their_names_are_found_out",
         "repo/test_snapshot.py::test_every_change_of_what_is_protected_is_another_digest"),
    28: (f"{POLICY}test_28_29_a_tree_that_not_everybody_reads_the_same_is_refused",
         "repo/test_objects.py::test_what_is_no_ordinary_file_is_refused",
         "repo/test_objects.py::test_a_link_in_place_of_a_protected_folder_is_refused",
         f"{HOOK}test_a_link_in_a_protected_place_is_refused"),
    29: (f"{POLICY}test_28_29_a_tree_that_not_everybody_reads_the_same_is_refused",
         f"{POLICY}test_29_a_name_is_never_an_option_or_an_expression",
         "repo/test_objects.py::test_trees_that_git_would_not_write_are_refused",
         "repo/test_objects.py::test_names_stand_for_commits_only_where_they_can_mean_one"),
    30: (f"{POLICY}test_30_nothing_that_a_repository_configures_is_executed",
         "repo/test_git.py::test_nothing_a_repository_configures_is_executed",
         "repo/test_git.py::test_the_traps_of_these_tests_do_snap_under_plain_git",
         "repo/test_objects.py::test_settings_of_the_repository_execute_nothing"),
    31: (f"{POLICY}test_31_the_callers_environment_has_no_word", "repo/test_objects.py::test_the_callers_variables_have_no_word",
         "run/test_engine.py::test_the_callers_environment_does_not_reach_tasks"),
    32: (ROOT, "proof/test_root.py::test_everything_that_is_wrong_is_said_at_once_and_nothing_of_it_can_be_signed",
         "acceptance/test_trust.py::test_nothing_in_a_name_moves_the_cursor"),
    33: ("attacks/test_documents.py::test_the_reader_answers_with_a_problem",
         "attacks/test_documents.py::test_expressions_neither_break_nor_run"),
    34: ("attacks/test_transition_attacks.py::test_34_what_is_protected_is_changed_by_the_holders_of_the_root_only",
         f"{POLICY}test_34_settings_do_not_lead_away_from_the_pin"),
    35: (f"{ACTION}test_the_trust_root_is_that_of_the_base", f"{ACTION}test_nothing_of_a_change_is_executed",
         f"{ACTION}test_no_workflow_is_started_by_an_event_that_gives_strangers_its_rights"),
    36: (INSIDER, f"{POLICY}test_49_no_switch_skips_the_judgement"),
    37: (f"{POLICY}test_37_guardrails_of_the_work_tree_mean_nothing",
         f"{POLICY}test_37_what_a_run_takes_from_the_work_tree_must_be_what_was_applied",
         "acceptance/test_approvals.py::test_a_plan_that_was_approved_and_then_changed_is_not_run_on_that_approval"),
    38: (f"{POLICY}test_38_39_the_record_of_the_applied_pack_stays_or_nothing_goes_on",
         f"{POLICY}test_38_a_receipt_says_who_allowed_it_or_nothing", "attacks/test_proof_attacks.py::test_ledger",
         "acceptance/test_proof.py::test_any_change_to_the_ledger_is_told_with_exit_code_5"),
    39: (f"{POLICY}test_38_39_the_record_of_the_applied_pack_stays_or_nothing_goes_on",
         f"{POLICY}test_39_a_ledger_that_is_gone_with_all_that_knew_it_is_no_way_back",
         "attacks/test_proof_attacks.py::test_ledger", "proof/test_fork.py::test_truncated_together_with_the_machine_s_own_copy",
         "run/test_team_ledger.py::test_this_machine_s_own_ledger_taken_back_is_seen"),
    40: ("attacks/test_proof_attacks.py::test_ledger", "proof/test_ledger.py::test_a_record_made_for_another_ledger_stays_out",
         "run/test_team_ledger.py::test_a_run_id_another_machine_used_is_left_out",
         "proof/test_fork.py::test_what_a_hostile_machine_hands_over_is_refused_whole"),
    41: ("attacks/test_proof_attacks.py::test_proof", "proof/test_merkle.py::test_every_entry_is_proven_and_no_other",
         "proof/test_merkle.py::test_a_log_of_the_same_size_needs_no_proof_and_takes_none"),
    42: ("proof/test_ledger.py::test_a_full_disk_stops_the_ledger_and_leaves_it_whole",
         "proof/test_ledger.py::test_a_failed_sync_is_not_tried_again_and_its_record_is_not_there",
         "proof/test_ledger.py::test_runs_that_never_ended_are_named",
         "acceptance/test_team_ledger.py::test_where_it_is_required_nothing_runs_before_the_team_has_the_start_record"),
    43: (f"{POLICY}test_43_two_who_apply_at_once_use_the_approvals_once",
         "proof/test_ledger.py::test_processes_that_append_at_once_lose_nothing",
         "proof/test_ledger.py::test_torn_at_any_byte_it_opens_with_all_that_was_reported",
         "run/test_team_ledger.py::test_four_machines_at_once_lose_nothing"),
    44: (f"{BRIDGE}test_a_key_that_is_no_bridge_signs_nothing",
         "proof/test_fork.py::test_what_it_said_before_counts_and_what_stands_behind_does_not",
         "run/test_team_ledger.py::test_a_machine_distrusted_later_is_not_counted"),
    45: ("proof/test_fork.py::test_a_fork_is_proven_to_anybody", "proof/test_fork.py::test_an_approval_names_a_state_the_log_must_continue",
         "run/test_team_ledger.py::test_two_histories_leave_a_proof_for_anybody",
         "acceptance/test_team_ledger.py::test_a_remote_that_goes_back_is_refused_and_a_fork_is_proven_to_anybody",
         "proof/test_cosign.py::test_a_witness_never_goes_back"),
    46: (ROOT, "acceptance/test_freeze.py::test_what_needs_privileges_stops_where_it_may_be_hidden",
         "acceptance/test_freeze.py::test_what_needs_privileges_goes_on_where_the_ledger_was_vouched_for",
         "acceptance/test_freeze.py::test_without_witnesses_the_remote_must_have_been_reached",
         "acceptance/test_freeze.py::test_whoever_takes_the_ledger_out_of_the_settings_shows_nothing"),
    47: (TRANSITION, APPROVAL, "policy/test_transition.py::test_hiding_a_statement_never_makes_a_yes_and_their_order_means_nothing",
         "policy/test_approval.py::test_hiding_approvals_never_makes_a_yes", "repo/test_attestations.py::test_a_flood_is_told_and_not_read"),
    48: (TRANSITION, f"{POLICY}test_48_what_is_shown_to_those_who_decide_moves_nothing",
         f"{POLICY}test_48_a_reason_that_moves_the_cursor_is_not_signed",
         f"{POLICY}test_48_text_that_turns_is_refused_in_what_is_protected",
         "attacks/test_transition_attacks.py::test_48_what_acts_on_a_terminal_is_written_out",
         f"{ACTION}test_words_of_a_change_are_no_commands_to_the_runner"),
    49: (f"{POLICY}test_49_no_switch_skips_the_judgement", "acceptance/test_break_glass.py::test_glass_stays_whole"),
}  # fmt: skip


@functools.cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return frozenset(each.name for each in tree.body if isinstance(each, ast.FunctionDef))


def test_no_row_is_missing() -> None:
    assert sorted(ROWS) == list(range(1, 50))
    assert all(tests for tests in ROWS.values())
    assert all(len({*tests}) == len(tests) for tests in ROWS.values())


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_row_are_there(row: int) -> None:
    for each in ROWS[row]:
        file, _, name = each.partition("::")
        assert name in functions(file), each


def rows_of(table: str) -> set[int]:
    return {case["attack"] for case in json.loads((TESTS / "attacks" / table).read_text())}


def rows_in(file: str) -> set[int]:
    """The rows that the named attacks of a module carry: `Attack(12, ...)`."""
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    calls = (each for each in ast.walk(tree) if isinstance(each, ast.Call) and isinstance(each.func, ast.Name))
    firsts = (
        each.args[0] for each in calls if isinstance(each.func, ast.Name) and each.func.id == "Attack" and each.args
    )
    return {each.value for each in firsts if isinstance(each, ast.Constant) and isinstance(each.value, int)}


def test_where_a_row_names_a_table_the_table_has_cases_of_it() -> None:
    tables = {
        APPROVAL: rows_of("approvals.json"),
        ROOT: rows_of("trust_roots.json"),
        TRANSITION: rows_in("attacks/test_transition_attacks.py"),
    }
    for table, there in tables.items():
        named = {row for row, tests in ROWS.items() if table in tests}
        assert named <= there, (table, named - there)
