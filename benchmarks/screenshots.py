"""The pictures of the live view and of the page that the docs show, from the small model inside the package.

The puzzle is a typical one: of the first 500 that the task draws, the one whose cumulative entropies lie nearest to the
means of the planners that are shown, as shares of these means. Needs Chromium and its driver (Debian: chromium,
chromium-driver) and selenium.

    python benchmarks/screenshots.py
    python benchmarks/screenshots.py --out /tmp/pictures
"""

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.terminal_theme import MONOKAI

import mdm_sampling as mdm
from mdm_sampling.compare import row_of
from mdm_sampling.traces import Film
from mdm_sampling.views import Screen, write_page
from mdm_sampling.views.terminal.lockstep import watch
from mdm_sampling.views.terminal.view import Lane

IMAGES = Path(__file__).parent.parent / "docs" / "images"
COLUMNS, LINES = 112, 34
STEP = 4
"""The step at which the canvases are shown."""

ITEMS = 500
"""Of which a typical one is shown."""

Row = tuple[list[int], list[int]]
PLANNERS = {"confidence": mdm.Confidence(), "info-gain": mdm.InfoGain()}


@click.command(help=__doc__)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=IMAGES, help="Folder.")
def main(out: Path) -> None:
    task = mdm.build("tasks", "sudoku:6")
    base = mdm.load(max_new_tokens=42, block_size=42, steps=11)  # two positions a step
    samplers = {name: replace(base, planner=planner) for name, planner in PLANNERS.items()}
    row = typical([row_of(item, base, None) for item in task.items(ITEMS, 0)], list(samplers.values()))
    with Screen(Console(file=io.StringIO()), speed=1e6, together=True) as screen:
        lanes = watch(samplers, row, 0, screen)
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder)) as driver:
        Path(folder, "watch.svg").write_text(drawn(lanes), encoding="utf-8")
        Path(folder, "watch.html").write_text('<body style="margin:0"><img src="watch.svg" width="1200">', "utf-8")
        driver.get(Path(folder, "watch.html").as_uri())
        save(driver.find_element("css selector", "img"), out / "watch.png")
        page = Path(folder, "planners.html")
        write_page({lane.title: [lane.film] for lane in reversed(lanes)}, page, "A 6x6 Sudoku, two planners")
        for theme in ("light", "dark"):
            show(driver, page, theme)
            save(driver, out / f"report-{theme}.png")


def typical(rows: list[Row], samplers: list[mdm.Sampler]) -> Row:
    """The row on which no sampler's cumulative entropy is far from its mean."""
    results = [sampler.fill(rows, batch_size=10) for sampler in samplers]
    entropies = torch.tensor([[row.cumulative_entropy for row in result.rows] for result in results])
    means = entropies.mean(1, keepdim=True)
    click.echo(f"means of {', '.join(PLANNERS)}: {', '.join(f'{mean:.3f}' for mean in means[:, 0].tolist())}")
    return rows[int(((entropies - means).abs() / means).amax(0).argmin())]


def drawn(lanes: list[Lane]) -> str:
    """The live view after `STEP` steps, as SVG."""
    console = Console(file=io.StringIO(), force_terminal=True, width=COLUMNS, height=LINES, record=True)
    screen = Screen(console, speed=4.0, together=True)
    console.print(screen.render([cut(lane) for lane in lanes]))
    return console.export_svg(title="mdm-sampling watch --planner confidence --planner info-gain", theme=MONOKAI)


def cut(lane: Lane) -> Lane:
    """The lane as it was after `STEP` steps."""
    old = lane.film
    film = Film(old.prefix, old.body, old.mask_id, old.end_id, old.seed, old.spec, old.names)
    for frame in old.frames[:STEP]:
        film.add(frame)
    return Lane(lane.title, film)


@contextmanager
def browser(profile: Path) -> Iterator[Any]:
    """A headless Chromium with an empty profile."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-background-networking", "--hide-scrollbars"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={profile / 'profile'}")
    options.add_argument("--window-size=1280,1150")
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def show(driver: Any, page: Path, theme: str) -> None:
    """The page at `STEP`, pointing at one of the positions that are still masked."""
    from selenium.webdriver.common.action_chains import ActionChains

    preference = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", preference)
    driver.get(page.as_uri())
    driver.execute_script(
        "const slider = document.getElementById('step');"
        "slider.value = arguments[0];"
        "slider.dispatchEvent(new Event('input', { bubbles: true }));",
        STEP,
    )
    masked = driver.find_elements("css selector", "#canvas .masked")
    ActionChains(driver).move_to_element(masked[len(masked) // 2]).perform()


def save(shown: Any, image: Path) -> None:
    """A picture of an element, or of the window."""
    image.write_bytes(getattr(shown, "screenshot_as_png", None) or shown.get_screenshot_as_png())
    click.echo(f"{image}: {image.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
