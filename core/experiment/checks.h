// Rules for single texts of an experiment beyond their type: each says what is wrong, or "". Pure.
#pragma once

#include <string>

namespace trainctl {

std::string check_run_name(const std::string &text); // becomes part of the run's id
std::string check_word(const std::string &text);     // one word for Slurm, not an option
std::string check_chip(const std::string &text);
std::string check_sbatch_option(const std::string &text); // one long option, and none that trainctl gives itself
std::string check_variable(const std::string &text); // name of a variable that an experiment may set
std::string check_secret(const std::string &text);   // likewise; never quotes what is not a plain name
std::string check_checkpoint_pattern(const std::string &text);
std::string check_file_suffix(const std::string &text); // marker, manifest: a name inside a checkpoint
std::string check_progress_pattern(const std::string &text);
std::string check_stall_timeout(const std::string &text); // auto, off, or a duration

} // namespace trainctl
