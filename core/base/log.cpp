#include "base/log.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <utility>

namespace trainctl {

namespace {

class LineSink final : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
public:
    explicit LineSink(Log::Sink take) : take_(std::move(take)) {}

private:
    void sink_it_(const spdlog::details::log_msg &message) override {
        spdlog::memory_buf_t line;
        formatter_->format(message, line);
        take_(std::string{line.data(), line.size()});
    }
    void flush_() override {}

    Log::Sink take_;
};

} // namespace

Log::Log(const std::string &who, Sink sink)
    : logger_(std::make_unique<spdlog::logger>(who, std::make_shared<LineSink>(std::move(sink)))) {
    logger_->set_formatter(std::make_unique<spdlog::pattern_formatter>("%Y-%m-%dT%H:%M:%SZ %l %n: %v", spdlog::pattern_time_type::utc, ""));
    logger_->set_level(spdlog::level::debug); // what is worth a line is for the sink to say
}

Log::~Log() = default;
Log::Log(Log &&) noexcept = default;
Log &Log::operator=(Log &&) noexcept = default;

void Log::debug(std::string_view text) const { logger_->debug(text); }
void Log::info(std::string_view text) const { logger_->info(text); }
void Log::warning(std::string_view text) const { logger_->warn(text); }

} // namespace trainctl
