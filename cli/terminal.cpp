#include "terminal.h"

#include "base/process.h"

#include <sys/ioctl.h>
#include <unistd.h>

namespace trainctl {

ReportStyle stdout_style() {
    ReportStyle style;
    if (::isatty(STDOUT_FILENO) == 0) {
        style.width = 0; // whoever reads it there wants whole paths
        return style;
    }
    style.color = own_variable("NO_COLOR").empty() && own_variable("TERM", "dumb") != "dumb";
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        style.width = size.ws_col;
    return style;
}

} // namespace trainctl
