// Texts as execve takes them. Pure.
#pragma once

#include <string>
#include <vector>

namespace trainctl {

// Pointers into `strings`, and a null behind them; they hold as long as those are not touched.
inline std::vector<char *> exec_pointers(std::vector<std::string> &strings) {
    std::vector<char *> out;
    for (auto &text : strings)
        out.push_back(text.data());
    out.push_back(nullptr);
    return out;
}

} // namespace trainctl
