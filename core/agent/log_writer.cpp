#include "agent/log_writer.h"

#include "agent/spawn.h"
#include "base/files.h"

#include <condition_variable>
#include <fcntl.h>
#include <fmt/format.h>
#include <map>
#include <mutex>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

namespace trainctl {

namespace {

using namespace std::chrono_literals;

struct Batch {
    std::string text;
    std::uint64_t lines = 0;
};

// What only the thread touches.
struct OpenFile {
    Fd fd;
    std::size_t size = 0;
    std::uint64_t dropped = 0;
};

} // namespace

struct LogWriter::State {
    explicit State(Limits given) : limits(given) {}

    void run() {
        std::unique_lock lock{mutex};
        for (;;) {
            wake.wait(lock, [this] { return stop || !queue.empty(); });
            if (queue.empty())
                return;
            auto taken = std::move(queue);
            queue.clear();
            queued_bytes = 0;
            busy = true;
            lock.unlock();
            std::uint64_t lost = 0;
            for (const auto &[path, batch] : taken)
                lost += put(path, batch);
            lock.lock();
            dropped += lost;
            busy = false;
            idle.notify_all();
        }
    }

    bool open(const std::string &path, OpenFile &file) const {
        [[maybe_unused]] const auto made = PosixFiles{}.make_dirs(parent_path(path)); // open() tells what is wrong
        file.fd = Fd{::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)};
        struct stat info{};
        if (file.fd && ::fstat(file.fd.get(), &info) == 0)
            file.size = static_cast<std::size_t>(info.st_size);
        return static_cast<bool>(file.fd);
    }

    void rotate(const std::string &path, OpenFile &file) const {
        file.fd.close();
        for (int i = limits.old_files; i > 0; --i) {
            const std::string from = i == 1 ? path : fmt::format("{}.{}", path, i - 1);
            ::rename(from.c_str(), fmt::format("{}.{}", path, i).c_str());
        }
        if (limits.old_files == 0)
            ::unlink(path.c_str());
        file.size = 0;
    }

    // How many lines were lost.
    std::uint64_t put(const std::string &path, const Batch &batch) {
        auto &file = files[path];
        if (file.fd && file.size >= limits.file_bytes)
            rotate(path, file);
        std::string text;
        if (file.dropped > 0)
            text = fmt::format("[trainctl: {} lines could not be written here]\n", file.dropped);
        text += batch.text;
        if (!file.fd && !open(path, file)) {
            file.dropped += batch.lines;
            return batch.lines;
        }
        const auto n = ::write(file.fd.get(), text.data(), text.size());
        if (n > 0)
            file.size += static_cast<std::size_t>(n);
        if (n == static_cast<ssize_t>(text.size())) {
            file.dropped = 0;
            return 0;
        }
        file.fd.close(); // opened anew next time: the file may be gone, or NFS wants it so
        file.dropped += batch.lines;
        return batch.lines;
    }

    const Limits limits;
    std::mutex mutex;
    std::condition_variable wake, idle;
    std::map<std::string, Batch> queue;
    std::size_t queued_bytes = 0;
    std::uint64_t dropped = 0;
    bool stop = false, busy = false;
    std::map<std::string, OpenFile> files;
};

LogWriter::LogWriter(Limits limits) : state_(std::make_shared<State>(limits)) {
    std::thread{[state = state_] { state->run(); }}.detach();
}

LogWriter::~LogWriter() {
    drain(2s);
    const std::lock_guard lock{state_->mutex};
    state_->stop = true;
    state_->wake.notify_all();
}

void LogWriter::write(const std::string &path, const std::string &line) {
    const std::lock_guard lock{state_->mutex};
    if (state_->queued_bytes + line.size() > state_->limits.queue_bytes) {
        ++state_->dropped;
        return;
    }
    auto &batch = state_->queue[path];
    batch.text.append(line).append("\n");
    ++batch.lines;
    state_->queued_bytes += line.size() + 1;
    state_->wake.notify_one();
}

std::uint64_t LogWriter::dropped_lines() const {
    const std::lock_guard lock{state_->mutex};
    return state_->dropped;
}

bool LogWriter::drain(Duration limit) {
    std::unique_lock lock{state_->mutex};
    return state_->idle.wait_for(lock, limit, [this] { return state_->queue.empty() && !state_->busy; });
}

} // namespace trainctl
