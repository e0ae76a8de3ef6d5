//! `docs/memory-run.svg`, drawn from `docs/memory-run.txt`: how the memory of one server followed its need. The text is
//! what the test `memory_climbs_to_the_cap_and_comes_back_while_clients_stay_connected` recorded.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;
/// Room around the plot: for the scales.
const LEFT: f64 = 48.0;
const BELOW: f64 = 36.0;
const AROUND: f64 = 14.0;
/// The top of the scale.
const MEBIBYTES: f64 = 28.0;

/// One moment: seconds, and mebibytes of limit and need.
struct Moment {
    second: f64,
    limit: f64,
    need: f64,
}

/// The picture of a recorded run: lines `second limit need`, in KiB.
pub(crate) fn svg(recorded: &str) -> Result<String> {
    let moments =
        recorded.lines().filter(|line| !line.starts_with('#')).map(moment).collect::<Result<Vec<_>>>()?;
    let last = moments.last().context("nothing is recorded")?.second;
    ensure!(last > 0.0, "a run takes time");
    let x = |second: f64| LEFT + (WIDTH - LEFT - AROUND) * second / last;
    let y = |mebibytes: f64| HEIGHT - BELOW - (HEIGHT - BELOW - AROUND) * mebibytes / MEBIBYTES;

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Memory limit and need of one server over a run of {last:.0} s</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    for step in [6.0, 8.0, 12.0, 16.0, 24.0] {
        let (y, text) = (y(step), y(step) + 4.0);
        writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{}\" stroke=\"#ddd\"/>", WIDTH - AROUND)?;
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{text:.1}\" text-anchor=\"end\" fill=\"#555\">{step}Mi</text>",
            LEFT - 6.0
        )?;
    }
    let every = (last / 8.0 / 30.0).ceil() * 30.0;
    let mut second = 0.0;
    while second <= last {
        let (x, y) = (x(second), HEIGHT - BELOW + 18.0);
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" fill=\"#555\">{second} s</text>"
        )?;
        second += every;
    }
    let mut limit = String::new();
    let mut need = String::new();
    for (number, moment) in moments.iter().enumerate() {
        let (x, limit_y, need_y) = (x(moment.second), y(moment.limit), y(moment.need.min(MEBIBYTES)));
        match number {
            0 => write!(limit, "M{x:.1} {limit_y:.1}")?,
            _ => write!(limit, "H{x:.1}V{limit_y:.1}")?,
        }
        write!(need, "{}{x:.1} {need_y:.1}", if number == 0 { 'M' } else { 'L' })?;
    }
    writeln!(svg, "<path d=\"{need}\" fill=\"none\" stroke=\"#c60\" stroke-width=\"1.5\"/>")?;
    writeln!(svg, "<path d=\"{limit}\" fill=\"none\" stroke=\"#06c\" stroke-width=\"2.5\"/>")?;
    for (text, colour, y) in
        [("limit of the cgroup", "#06c", 26.0), ("need, as the server says", "#c60", 42.0)]
    {
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{y}\" text-anchor=\"end\" fill=\"{colour}\">{text}</text>",
            WIDTH - AROUND
        )?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn moment(line: &str) -> Result<Moment> {
    let figures = line.split(' ').map(str::parse::<f64>).collect::<Result<Vec<_>, _>>();
    let [second, limit, need] = figures.with_context(|| format!("figures, not {line:?}"))?[..] else {
        anyhow::bail!("second, limit and need, not {line:?}");
    };
    Ok(Moment { second, limit: limit / 1024.0, need: need / 1024.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_becomes_a_picture() {
        let picture = svg("# second limit need\n0.0 6144 1024\n10.0 8192 6000\n").expect("a picture");
        assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n"));
        assert!(picture.contains("H706.0V206.9"), "the limit is a staircase: {picture}");
        assert!(svg("").is_err() && svg("1 2").is_err() && svg("a b c").is_err());
    }
}
