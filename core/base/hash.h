// Content hashes and message authentication (libsodium), and random bytes. Pure but for random_hex().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace trainctl {

// SHA-256 as 64 hexadecimal digits.
std::string sha256_hex(std::string_view data);

// The same, piece by piece.
class Sha256 {
public:
    Sha256();
    ~Sha256();
    Sha256(Sha256 &&) noexcept;
    Sha256 &operator=(Sha256 &&) noexcept;
    void add(std::string_view data);
    std::string hex(); // once

private:
    struct State;
    std::unique_ptr<State> state_;
};

// HMAC-SHA-512-256 of `message` under a key of any length, as hexadecimal digits; equal in constant time.
std::string hmac_hex(std::string_view key, std::string_view message);
bool same_secret(std::string_view a, std::string_view b);

// Any bytes as text and back (RFC 4648, padded); nothing where the text is none.
std::string to_base64(std::string_view bytes);
std::optional<std::string> from_base64(std::string_view text);

// `bytes` random bytes of the operating system as hexadecimal digits.
std::string random_hex(std::size_t bytes);
// `length` random characters of a-z and 2-9 without those that look alike: for run ids.
std::string random_word(std::size_t length);

} // namespace trainctl
