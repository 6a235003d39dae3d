// What a command reads, here or over SSH: `input`, then the pieces of `more_input` until an empty one, one of them in
// memory at a time.
#pragma once

#include "base/result.h"

#include <functional>
#include <string>
#include <string_view>

namespace trainctl {

class Feed {
public:
    // Both stay where they are as long as this lives.
    Feed(const std::string &input, const std::function<Result<std::string>()> &more_input) : more_input_(more_input), rest_(input) {}

    // The next bytes, empty at the end; an error is more_input's.
    Result<std::string_view> next() {
        if (rest_.empty() && more_input_ && !ended_) {
            auto piece = more_input_();
            if (!piece)
                return piece.error();
            piece_ = *std::move(piece);
            rest_ = piece_;
            ended_ = piece_.empty();
        }
        return rest_;
    }
    void taken(std::size_t bytes) { rest_.remove_prefix(bytes); }

private:
    const std::function<Result<std::string>()> &more_input_;
    std::string piece_;
    std::string_view rest_;
    bool ended_ = false;
};

} // namespace trainctl
