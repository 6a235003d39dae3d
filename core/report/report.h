// The desk's answers as text for a terminal. Pure: what is unknown is said to be unknown, and nothing that a training
// printed reaches the terminal as anything but text.
#pragma once

#include "base/json.h"

#include <string>

namespace trainctl {

struct ReportStyle {
    bool color = false; // ANSI colours
    int width = 80;     // columns; used from 60 to 100; 0: lines of any length
};

// One run: what it does now, its attempts, why it failed, what to type next. `status` is the answer to "status".
std::string status_text(const Json &status, const ReportStyle &style);

// All runs, a line each. `list` is the answer to "list".
std::string list_text(const Json &list, const ReportStyle &style);

// The story of a run: each attempt with what happened in it, and totals. `status` as above.
std::string summary_text(const Json &status, const ReportStyle &style);

// Why a run did what it did, attempt by attempt. `answer` is the answer to "explain".
std::string explain_text(const Json &answer, const ReportStyle &style);
// How failures are decided on, in words, with a table of keys and one of classes, and the rules that are not built in.
// `policy`: {"keys": [{"key", "default", "doc"}], "classes": what classes_json gives, "own_rules": what own_rules_json gives}.
std::string policy_text(const Json &policy);

// The nodes that are suspected, for the user, and for an administrator. `answer` is the answer to "nodes".
std::string nodes_text(const Json &answer, const ReportStyle &style);
std::string nodes_report(const Json &answer);

// Why a run failed. `diagnosis` is what to_json(Diagnosis) gives.
std::string diagnosis_text(const Json &diagnosis, const ReportStyle &style);
// The job that `trainctl diagnose --job` looked at, as Slurm tells it, and what was read of its output; "" where the diagnosis is of
// no job.
std::string job_text(const Json &diagnosis, const ReportStyle &style);
// The classes of failures as a table in Markdown. `classes` is what classes_json gives.
std::string classes_text(const Json &classes);
// The checkpoints of a run, a line each, and why those are refused that are. `found` is the answer to "checkpoints".
std::string checkpoints_text(const Json &found, const ReportStyle &style);

// What became of a drill. `story` is the answer to "drill".
std::string drill_text(const Json &story);

} // namespace trainctl
