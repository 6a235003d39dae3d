#include "agent/evidence.h"

#include "agent/spawn.h"
#include "base/json.h"
#include "base/text.h"

#include <array>
#include <cerrno>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

constexpr Duration grace = 400ms;                   // beyond the limit that the collecting process keeps itself
constexpr std::size_t max_text_bytes = 256u << 10;  // some dozen summaries

std::string request_text(const EvidenceRequest &request) {
    Json ranks = Json::array();
    for (const auto &[rank, pid] : request.ranks)
        ranks.push_back({{"rank", rank}, {"pid", pid}});
    return dump_json({{"file", request.file},
                      {"mark", to_string(request.mark)},
                      {"ranks", ranks},
                      {"limit_ms", std::chrono::duration_cast<std::chrono::milliseconds>(request.limit).count()}});
}

// What stands before the last NUL: a summary that was not finished does not count.
std::string last_whole(const std::string &text) {
    const auto end = text.rfind('\0');
    if (end == std::string::npos)
        return "";
    const auto before = end == 0 ? std::string::npos : text.rfind('\0', end - 1);
    return text.substr(before == std::string::npos ? 0 : before + 1, end - (before == std::string::npos ? 0 : before + 1));
}

std::string bounded(std::string text) {
    if (text.size() > max_evidence_summary_bytes)
        text.resize(max_evidence_summary_bytes);
    // A character that was cut in two becomes three bytes.
    for (std::string whole = valid_utf8(text); ; text.pop_back(), whole = valid_utf8(text))
        if (whole.size() <= max_evidence_summary_bytes)
            return whole;
}

} // namespace

EvidenceCollector::~EvidenceCollector() {
    loop_.cancel(timer_);
    if (output_)
        loop_.forget(output_.get());
}

void EvidenceCollector::start(const EvidenceRequest &request, std::function<void(std::string)> on_done) {
    if (running())
        finish("given up for a newer one");
    on_done_ = std::move(on_done);
    text_.clear();
    auto pipe = make_pipe();
    auto input = memory_file("trainctl-evidence", request_text(request));
    // Later, not now: the caller is not done yet.
    timer_ = loop_.after(request.limit + grace, [this] {
        timer_ = 0;
        finish("nothing was found out in time");
    });
    if (!pipe || !input) {
        text_ = "no evidence: " + (pipe ? input.error() : pipe.error()).text() + '\0';
        return;
    }
    SpawnSpec child{{program_, "evidence"}, request.environment, "/", {{input->get(), 0}, {pipe->write_end.get(), 1}}};
    child.die_with_parent = true;
    if (const auto started = spawn(child); !started)
        text_ = "no evidence: " + started.error().text() + '\0';
    output_ = std::move(pipe->read_end); // at its end at once where nothing was started
    set_nonblocking(output_.get());
    loop_.when_readable(output_.get(), [this] { read(); });
}

void EvidenceCollector::read() {
    std::array<char, 1 << 14> buffer;
    const auto n = ::read(output_.get(), buffer.data(), buffer.size());
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        if (text_.size() + static_cast<std::size_t>(n) <= max_text_bytes)
            text_.append(buffer.data(), static_cast<std::size_t>(n));
        return;
    }
    finish("the process that looks for evidence ended without a word");
}

void EvidenceCollector::finish(const std::string &otherwise) {
    loop_.cancel(timer_);
    if (output_) {
        loop_.forget(output_.get());
        output_.close();
    }
    std::string summary = last_whole(text_);
    if (summary.empty())
        summary = otherwise;
    const auto done = std::exchange(on_done_, nullptr);
    if (done)
        done(bounded(std::move(summary)));
}

} // namespace trainctl
