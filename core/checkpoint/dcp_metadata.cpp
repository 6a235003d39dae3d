#include "checkpoint/dcp_metadata.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <unordered_map>

namespace trainctl {

namespace {

constexpr std::size_t window = 1u << 20;
constexpr std::size_t longest_text = 4096; // of texts that are kept: names of files and attributes
constexpr std::size_t most_files = 100'000;
constexpr std::array<std::string_view, 3> keys{"relative_path", "offset", "length"};

// Bytes of a file one after another.
class Stream {
public:
    Stream(const ReadAt &read, std::uint64_t size) : read_(read), size_(size) {}

    std::uint64_t left() const { return size_ - at_; }
    bool failed() const { return failed_; }

    std::uint64_t number(std::size_t width) {
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < width; ++i)
            value |= static_cast<std::uint64_t>(static_cast<unsigned char>(byte())) << (8 * i);
        return value;
    }
    char byte() {
        if (at_ - begin_ >= buffer_.size() && !fill())
            return 0;
        return buffer_[static_cast<std::size_t>(at_++ - begin_)];
    }
    void skip(std::uint64_t count) {
        if (count > left())
            failed_ = true;
        else
            at_ += count;
    }
    // A longer one than is kept comes out empty.
    std::string text(std::uint64_t count) {
        std::string out;
        if (count > left() || count > longest_text) {
            skip(count);
            return out;
        }
        while (out.size() < count && !failed_)
            out += byte();
        return out;
    }
    void skip_line() {
        while (!failed_ && byte() != '\n') {
        }
    }

private:
    bool fill() {
        begin_ = at_;
        buffer_ = left() == 0 ? "" : read_(at_, static_cast<std::size_t>(std::min<std::uint64_t>(window, left())));
        failed_ = failed_ || buffer_.empty();
        return !buffer_.empty();
    }

    const ReadAt &read_;
    std::uint64_t size_, at_ = 0, begin_ = 0;
    std::string buffer_;
    bool failed_ = false;
};

// Opcodes by Lib/pickletools.py of CPython: each has its arguments behind it, and only those that put a text or an integer
// on the stack matter here.
class Scan {
public:
    Scan(const ReadAt &read, std::uint64_t size) : in_(read, size) {}

    DcpPromise run() {
        while (!done_ && problem_.empty()) {
            const auto code = static_cast<unsigned char>(in_.byte());
            if (!in_.failed() && !text_code(code) && !number_code(code) && !memo_code(code) && !plain_code(code))
                problem_ = fmt::format(".metadata can't be read: {:#04x} is no opcode", code);
            if (in_.failed())
                problem_ = ".metadata is cut short";
        }
        if (problem_.empty() && in_.left() > 0)
            problem_ = ".metadata has more behind its end";
        if (problem_.empty() && ends_.empty())
            problem_ = ".metadata names no file";
        return {std::move(ends_), std::move(problem_)};
    }

private:
    bool text_code(unsigned char code) {
        switch (code) {
        case 'U': case 0x8c: on_text(in_.text(in_.number(1))); return true;
        case 'T': case 'X': on_text(in_.text(in_.number(4))); return true;
        case 0x8d: on_text(in_.text(in_.number(8))); return true;
        default: return false;
        }
    }

    bool number_code(unsigned char code) {
        switch (code) {
        case 'J': on_number(static_cast<std::int32_t>(in_.number(4))); return true;
        case 'K': on_number(static_cast<std::int64_t>(in_.number(1))); return true;
        case 'M': on_number(static_cast<std::int64_t>(in_.number(2))); return true;
        case 0x8a: on_long(in_.number(1)); return true;
        case 0x8b: on_long(in_.number(4)); return true;
        default: return false;
        }
    }

    bool memo_code(unsigned char code) {
        switch (code) {
        case 'h': recall(in_.number(1)); return true;
        case 'j': recall(in_.number(4)); return true;
        case 'q': remember(in_.number(1)); return true;
        case 'r': remember(in_.number(4)); return true;
        case 0x94: remember(memoized_++); return true;
        default: return false;
        }
    }

    bool plain_code(unsigned char code) {
        switch (code) {
        case '.': done_ = true; return true;
        case 0x80: in_.skip(1); return true;                                // PROTO
        case 0x95: in_.skip(8); return true;                                // FRAME
        case 'c': in_.skip_line(); in_.skip_line(); on_other(); return true; // GLOBAL
        case 'G': in_.skip(8); on_other(); return true;                     // BINFLOAT
        case 'C': in_.skip(in_.number(1)); on_other(); return true;
        case 'B': in_.skip(in_.number(4)); on_other(); return true;
        case 0x8e: case 0x96: in_.skip(in_.number(8)); on_other(); return true;
        case '(': case 'u': case 's': keep_ = false; return true; // a dict's begin and parts, between keys and values
        default: break;
        }
        // Those without arguments: None, True, False, containers, classes and what is made of them.
        static constexpr std::string_view bare = "N\x88\x89)]}\x8f" "012tlde\x90\x91\x85\x86\x87" "aRob\x81\x92\x93Q\x97\x98";
        if (bare.find(static_cast<char>(code)) == std::string_view::npos)
            return false;
        on_other();
        return true;
    }

    void on_text(std::string text) {
        const bool file = awaited_ == value && next_ == 0;
        if (file) {
            file_ = text;
            awaited_ = key;
            next_ = 1;
        } else if (awaited_ == key && text == keys[next_]) {
            awaited_ = value;
        } else {
            on_other();
            if (text == keys[0])
                awaited_ = value;
        }
        keep_ = file || std::find(keys.begin(), keys.end(), text) != keys.end();
        last_ = std::move(text);
    }

    void on_number(std::int64_t number) {
        keep_ = false;
        if (awaited_ != value || next_ == 0)
            return on_other();
        if (number < 0 || (next_ == 2 && from_ > INT64_MAX - number)) {
            problem_ = fmt::format(".metadata does not say where an item of {} is stored", file_);
        } else if (next_ == 1) {
            from_ = number;
            awaited_ = key;
            next_ = 2;
        } else {
            add(static_cast<std::uint64_t>(from_ + number));
        }
    }

    void on_long(std::uint64_t width) {
        if (width > 8) {
            in_.skip(width);
            return on_other();
        }
        const auto number = static_cast<std::int64_t>(in_.number(static_cast<std::size_t>(width)));
        const bool negative = width > 0 && width < 8 && (number >> (8 * width - 1) & 1) != 0;
        on_number(negative ? -1 : number);
    }

    // Anything else: an item that was begun must not be left half told.
    void on_other() {
        keep_ = false;
        if (awaited_ == value || next_ > 0)
            problem_ = fmt::format(".metadata does not say where an item of {} is stored", file_);
        awaited_ = key;
        next_ = 0;
    }

    void add(std::uint64_t end) {
        awaited_ = key;
        next_ = 0;
        if (file_.empty() || (ends_.size() >= most_files && !ends_.contains(file_))) {
            problem_ = file_.empty() ? ".metadata names a file without a name" : fmt::format(".metadata names more than {} files", most_files);
            return;
        }
        auto &now = ends_[file_];
        now = std::max(now, end);
    }

    // Of all that is remembered only what may be asked for again: names of attributes and of files.
    void remember(std::uint64_t at) {
        if (keep_)
            memo_[at] = last_;
        else
            memo_.erase(at);
    }
    void recall(std::uint64_t at) {
        const auto found = memo_.find(at);
        if (found != memo_.end())
            return on_text(found->second);
        on_other();
    }

    enum Awaited { key, value };

    Stream in_;
    std::map<std::string, std::uint64_t> ends_;
    std::string problem_, file_, last_;
    std::unordered_map<std::uint64_t, std::string> memo_;
    std::uint64_t memoized_ = 0;
    Awaited awaited_ = key;
    bool keep_ = false; // what was put on the stack last is such a text: last_
    std::size_t next_ = 0; // of `keys`: which one comes, or whose value
    std::int64_t from_ = 0;
    bool done_ = false;
};

} // namespace

DcpPromise read_dcp_metadata(const ReadAt &read, std::uint64_t size) { return Scan{read, size}.run(); }

} // namespace trainctl
