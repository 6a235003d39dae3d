// Slurm's state words, long and compact, of every version from 16.05 to 26.05, and what they say of a job.
// A word that is not in the table says nothing: such a job has not ended. Pure.
#pragma once

#include "slurm/scheduler.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace trainctl {

// What one word says. Words come alone (squeue, sacct: a flag hides the base state) or as a list.
enum class StateMeaning {
    queued,    // waits, or is put back into the queue
    active,    // holds nodes, or they are still being cleaned up
    over,      // a terminal base state
    remark,    // says nothing of the phase: the words beside it do
    elsewhere, // a sibling in a federation: this cluster does not know
};

struct StateWord {
    std::string_view name, compact; // "OUT_OF_MEMORY", "OOM"; compact is empty where Slurm has none
    bool flag = false;              // a flag beside a base state
    StateMeaning meaning = StateMeaning::remark;
};

std::span<const StateWord> state_words();

struct JobState {
    std::string text; // long words in capitals, joined by ","; unknown ones as Slurm wrote them
    JobPhase phase = JobPhase::unknown;
    std::optional<std::uint32_t> cancelled_by; // uid of "CANCELLED by 1000"
};

// Reads "RUNNING", "CG", "CANCELLED by 1000", "COMPLETED,COMPLETING", "DOWN+X", and "OUT_OF_ME+" as sacct cuts it
// off where the column is narrow. One unknown word makes the phase unknown.
JobState read_state(std::string_view words);
JobPhase phase_of(std::string_view words);

} // namespace trainctl
