"""Builds the assets of every page: Vega's runtime and the compiled charts.

    python -m greenlove_mlflow.report.charts.build

Run it after changing a chart; it needs altair and vl-convert-python (the dev extra). A page is made from the two files
written here, which takes milliseconds and needs neither library.
"""

from __future__ import annotations

import importlib
import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).parents[1] / "assets"
# vl-convert bundles Vega Embed, which includes Vega, Vega-Lite and the tooltips; nothing else becomes global.
_SNIPPET = "window.vegaEmbed = vegaEmbed;"
_NOTICE = """/*
Vega {vega}, Vega-Lite, Vega Embed and the D3 modules they use, bundled by vl-convert-python {bundler}.

Vega, BSD 3-Clause. Copyright (c) 2015-2023, University of Washington Interactive Data Lab. All rights reserved.
Redistribution and use in source and binary forms, with or without modification, are permitted provided that the
following conditions are met: 1. Redistributions of source code must retain the above copyright notice, this list of
conditions and the following disclaimer. 2. Redistributions in binary form must reproduce the above copyright notice,
this list of conditions and the following disclaimer in the documentation and/or other materials provided with the
distribution. 3. Neither the name of the copyright holder nor the names of its contributors may be used to endorse or
promote products derived from this software without specific prior written permission.
THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS" AND ANY EXPRESS OR IMPLIED WARRANTIES,
INCLUDING, BUT NOT LIMITED TO, THE IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE FOR ANY DIRECT, INDIRECT, INCIDENTAL,
SPECIAL, EXEMPLARY, OR CONSEQUENTIAL DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER CAUSED AND ON ANY THEORY OF LIABILITY,
WHETHER IN CONTRACT, STRICT LIABILITY, OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.

D3, ISC. Copyright 2010-2023 Mike Bostock. Permission to use, copy, modify, and/or distribute this software for any
purpose with or without fee is hereby granted, provided that the above copyright notice and this permission notice
appear in all copies. THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS
SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR
ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR
PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH
THE USE OR PERFORMANCE OF THIS SOFTWARE.
*/
"""


def build_assets() -> dict[str, str]:
    """The text of each asset by file name."""
    import vl_convert

    notice = _NOTICE.format(vega=vl_convert.get_vega_version(), bundler=version("vl-convert-python"))
    return {
        "vega.js": notice + _runtime(vl_convert.javascript_bundle(_SNIPPET)),
        "charts.json": json.dumps(compiled_charts(), separators=(",", ":"), sort_keys=True) + "\n",
    }


def _runtime(bundle: str) -> str:
    """The bundle with ``vegaEmbed`` as its only global, and without text that would end its script element."""
    return f"(()=>{{{bundle}}})();".replace("</script", "<\\/script") + "\n"


def compiled_charts() -> dict[str, Any]:
    """Every chart as a Vega specification, by name, and the versions that compiled them."""
    from greenlove_mlflow.report.charts import chart_parts

    importlib.import_module("greenlove_mlflow.report.charts.run_charts")
    charts = {name: _compiled(maker().to_dict()) for name, maker in sorted(chart_parts.CHARTS.items())}
    return {"made_with": {"altair": version("altair"), "vl-convert": version("vl-convert-python")}, "charts": charts}


def _compiled(spec: dict[str, Any]) -> Any:
    import vl_convert

    vega = vl_convert.vegalite_to_vega(spec, vl_version=_vega_lite_version(spec))
    return _with_signals(vega)


def _vega_lite_version(spec: dict[str, Any]) -> str:
    found = re.search(r"/v(\d+\.\d+)", str(spec.get("$schema", "")))
    import vl_convert

    newest: str = vl_convert.get_vegalite_versions()[-1]
    return found.group(1) if found and found.group(1) in vl_convert.get_vegalite_versions() else newest


def _with_signals(node: Any) -> Any:
    """The specification with each text ``@name``, or list of only that, replaced by the signal of that name."""
    if isinstance(node, dict):
        return {key: _with_signals(value) for key, value in node.items()}
    if isinstance(node, list) and len(node) == 1 and isinstance(node[0], str) and node[0].startswith("@"):
        return {"signal": node[0][1:]}
    if isinstance(node, list):
        return [_with_signals(value) for value in node]
    if isinstance(node, str) and node.startswith("@"):
        return {"signal": node[1:]}
    return node


def write_assets() -> None:
    """Write the assets to the package's asset folder."""
    ASSETS.mkdir(exist_ok=True)
    for name, text in build_assets().items():
        (ASSETS / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_assets()
