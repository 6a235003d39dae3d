// Help texts that fit a terminal of 80 columns. Pure.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <string>

namespace trainctl {

class HelpFormatter final : public CLI::Formatter {
public:
    HelpFormatter() { column_width(names_width); }
    std::string make_help(const CLI::App *app, std::string name, CLI::AppFormatMode mode) const override;

private:
    static constexpr std::size_t names_width = 22; // of commands and options; what they mean stands behind
};

} // namespace trainctl
