//! # Purpose
//! The text format of Prometheus before `OpenMetrics`, for whoever does not ask for the latter.
//!
//! # Invariants kept here
//! - Pure. Samples are the same in both; only their descriptions differ: a counter is described under the name of its
//!   sample, an info is a gauge, and units and the end have no line
//!   (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! # Not here
//! Values.

/// `text` is what [`super::Metrics::encode`] gives.
pub fn classic(text: &str) -> String {
    let mut classic = String::with_capacity(text.len());
    let mut put = |line: &str| {
        classic.push_str(line);
        classic.push('\n');
    };
    let mut help: Option<(&str, &str)> = None;
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' '))
        {
            let (name, kind) = match kind {
                "counter" => (format!("{name}_total"), kind),
                "info" => (format!("{name}_info"), "gauge"),
                kind => (name.to_owned(), kind),
            };
            if let Some((_, text)) = help.take() {
                put(&format!("# HELP {name} {text}"));
            }
            put(&format!("# TYPE {name} {kind}"));
        } else if !line.starts_with("# UNIT ") && line != "# EOF" {
            put(line);
        }
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_follow_the_names_of_samples() {
        let open = "# HELP a_build Version.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                    # HELP a_lag_seconds Time.\n# TYPE a_lag_seconds histogram\n# UNIT a_lag_seconds seconds\n\
                    a_lag_seconds_sum 0\n# HELP a_hits Hits.\n# TYPE a_hits counter\na_hits_total 3\n# EOF\n";
        assert_eq!(
            classic(open),
            "# HELP a_build_info Version.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
             # HELP a_lag_seconds Time.\n# TYPE a_lag_seconds histogram\na_lag_seconds_sum 0\n\
             # HELP a_hits_total Hits.\n# TYPE a_hits_total counter\na_hits_total 3\n"
        );
    }
}
