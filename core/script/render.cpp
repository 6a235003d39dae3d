#include "script/render.h"

#include "base/text.h"
#include "builtin_data.h"
#include "script/options.h"

#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <kainjow/mustache.hpp>
#include <map>
#include <sstream>
#include <utility>

namespace trainctl {

namespace {

namespace ms = kainjow::mustache;

// Mustache renders an unknown name as nothing; in a batch script that would be a wrong path or no option.
class StrictContext final : public ms::context<std::string> {
public:
    using ms::context<std::string>::context;

    const ms::data *get(const std::string &name) const override {
        const auto *found = ms::context<std::string>::get(name);
        if (found == nullptr && unknown_.empty())
            unknown_ = name;
        return found;
    }
    const ms::data *get_partial(const std::string &name) const override {
        if (partial_.empty())
            partial_ = name;
        return nullptr;
    }

    const std::string &unknown() const { return unknown_; }
    const std::string &partial() const { return partial_; }

private:
    mutable std::string unknown_, partial_;
};

const std::vector<std::string> variables = {"run",         "attempt", "name",  "job_name", "run_dir",
                                            "attempt_dir", "root",    "agent", "nodes",    "options"};

ms::data data_of(const AttemptPlan &plan, const std::vector<std::string> &options) {
    ms::list words;
    for (const auto &option : options)
        words.push_back(ms::data{option});
    const Resources &wanted = plan.experiment.resources;
    ms::data data{ms::object{{"run", plan.run.value},
                             {"attempt", to_string(plan.no)},
                             {"name", plan.experiment.name},
                             {"job_name", job_name(plan.run, plan.no)},
                             {"run_dir", run_folder(plan)},
                             {"attempt_dir", attempt_folder(plan)},
                             {"root", plan.root},
                             {"agent", plan.agent},
                             {"nodes", std::to_string(wanted.nodes + wanted.spares)}}};
    data.set("options", ms::data{words});
    return data;
}

// "file:line:col" of a byte in the template.
std::string place(const std::string &file, const std::string &text, std::size_t at) {
    at = std::min(at, text.size());
    const auto line = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n') + 1;
    const auto newline = at == 0 ? std::string::npos : text.rfind('\n', at - 1);
    const std::size_t column = newline == std::string::npos ? at + 1 : at - newline;
    return fmt::format("{}:{}:{}", file, line, column);
}

// The library's messages end with " at <byte>".
Error syntax_error(const std::string &file, const std::string &text, const std::string &message) {
    const auto at = message.rfind(" at ");
    std::size_t byte = 0;
    if (at == std::string::npos || at + 4 == message.size())
        return Error{ErrorKind::invalid, message, file, ""};
    for (const char c : message.substr(at + 4)) {
        if (c < '0' || c > '9')
            return Error{ErrorKind::invalid, message, file, ""};
        byte = byte * 10 + static_cast<std::size_t>(c - '0');
    }
    return Error{ErrorKind::invalid, message.substr(0, at), place(file, text, byte), ""};
}

// Where a name stands in a tag; the file alone where it can't be found (other delimiters).
std::string place_of_name(const std::string &file, const std::string &text, const std::string &name) {
    for (auto at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
        const auto before = text.find_last_not_of("{&#^> \t", at == 0 ? 0 : at - 1);
        const std::size_t from = before == std::string::npos ? 0 : before + 1;
        if (text.substr(from, at - from).find("{{") != std::string::npos)
            return place(file, text, at);
    }
    return file;
}

Result<std::string> fill(const std::string &file, const std::string &text, const ms::data &data) {
    ms::mustache parsed{text};
    if (!parsed.is_valid())
        return syntax_error(file, text, parsed.error_message());
    parsed.set_custom_escape([](const std::string &value) { return shell_quote(value); });
    StrictContext context{&data};
    std::ostringstream out;
    parsed.render(context, out);
    if (!parsed.is_valid())
        return syntax_error(file, text, parsed.error_message());
    if (!context.partial().empty())
        return Error{ErrorKind::invalid, "{{>" + context.partial() + "}}: a template can't include another",
                     place_of_name(file, text, context.partial()), ""};
    if (!context.unknown().empty()) {
        const auto near = did_you_mean(context.unknown(), variables);
        return Error{ErrorKind::invalid, "there is no variable \"" + context.unknown() + "\"",
                     place_of_name(file, text, context.unknown()),
                     near.empty() ? "there are " + join(variables, ", ") : "did you mean " + near + "?"};
    }
    return out.str();
}

// What sbatch would refuse, said before it is sent.
Result<void> check_script(const std::string &file, const std::string &script) {
    if (!starts_with(script, "#!"))
        return Error{ErrorKind::invalid, "the script's first line must be its interpreter, for example #!/bin/bash",
                     file + ":1:1", ""};
    if (script.find('\0') != std::string::npos || script.find("\r\n") != std::string::npos)
        return Error{ErrorKind::invalid, "the script has Windows line ends or NUL bytes, which sbatch refuses", file,
                     "save the template with Unix line ends"};
    return {};
}

} // namespace

Result<RenderedAttempt> render_attempt(const AttemptPlan &plan, const std::string &template_text) {
    auto options = sbatch_options(plan);
    if (!options)
        return options.error();
    const std::string &path = plan.experiment.template_path;
    const std::string file = path.empty() ? "slurm.sbatch.mustache" : path;
    try {
        auto script = fill(file, template_text, data_of(plan, *options));
        if (!script)
            return script.error();
        if (auto checked = check_script(file, *script); !checked)
            return checked.error();
        return RenderedAttempt{std::move(*options), std::move(*script)};
    } catch (const std::exception &error) {
        return Error{ErrorKind::invalid, std::string{"the template can't be rendered: "} + error.what(), file, ""};
    }
}

const std::string &builtin_template(const std::string &name) {
    static const std::map<std::string, std::string> templates = {
        {"slurm", std::string{builtin_data("slurm.sbatch.mustache")}}};
    static const std::string none;
    const auto found = templates.find(name);
    return found == templates.end() ? none : found->second;
}

} // namespace trainctl
