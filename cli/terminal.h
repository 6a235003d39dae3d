// What the terminal behind stdout can do, as reports need it.
#pragma once

#include "report/report.h"

namespace trainctl {

// Colours on a terminal without NO_COLOR (no-color.org) and TERM=dumb only; its width, else 80; no limit where stdout
// is no terminal.
ReportStyle stdout_style();

} // namespace trainctl
