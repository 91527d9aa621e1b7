-- Which telescope has the biggest mirror?
SELECT scp_nm FROM scope ORDER BY apert_m DESC LIMIT 1;
-- Everything retired, status I: instrument codes?
SELECT ins_cd FROM instr WHERE stat = 'I';
-- How many spectrographs (SPEC) do we run in all, working or not?
SELECT count(*) FROM instr WHERE ityp = 'SPEC';
-- Telescopes that saw first light before 1990, and the date.
SELECT scp_nm, first_lt FROM scope WHERE first_lt < '1990-01-01';
-- Light grasp goes with the square of the aperture. How many times as much as Miranda does each telescope collect, Miranda itself included? Name and ratio, one decimal.
SELECT a.scp_nm, round(a.apert_m * a.apert_m / (b.apert_m * b.apert_m), 1) FROM scope AS a JOIN scope AS b WHERE b.scp_nm = 'Miranda';
-- Give me each telescope with the number of instruments still active on it, zero included.
SELECT s.scp_nm, count(i.ins_cd) FROM scope AS s LEFT JOIN instr AS i ON i.scp = s.scp AND i.stat = 'A' GROUP BY s.scp;
-- Targets that belong to, or orbit, another target: designation and that of the primary.
SELECT a.desig, b.desig FROM tgt AS a JOIN tgt AS b ON b.tgt_id = a.comp_of;
-- Companions brighter than magnitude 8.3 – remember, the smaller vmag the brighter.
SELECT desig FROM tgt WHERE comp_of IS NOT NULL AND vmag < 8.3;
-- Is there a primary with more than one companion listed? Designation.
SELECT b.desig FROM tgt AS a JOIN tgt AS b ON b.tgt_id = a.comp_of GROUP BY b.tgt_id HAVING count(*) > 1;
-- The brightest object of each class, well, only its magnitude. Class and value.
SELECT cls, min(vmag) FROM tgt GROUP BY cls;
-- The faintest galaxy on our list, what's its designation?
SELECT desig FROM tgt WHERE cls = 'galaxy' ORDER BY vmag DESC LIMIT 1;
-- Southern targets, in other words negative declination.
SELECT desig FROM tgt WHERE dec_deg < 0;
-- no brightness on file – which targets?
SELECT desig FROM tgt WHERE vmag IS NULL;
-- Never looked at: targets without any exposure.
SELECT t.desig FROM tgt AS t LEFT JOIN expo AS e ON e.tgt_id = t.tgt_id WHERE e.exp_no IS NULL;
-- How much of the requested time did we give out in total? Percent, rounded to one decimal; those awarded nothing count as zero.
SELECT round(100.0 * sum(hrs_awd) / sum(hrs_req), 1) FROM PropSub;
-- PIs who sent in more than one proposal.
SELECT pi_nm FROM PropSub GROUP BY pi_nm HAVING count(*) > 1;
-- Institutes ranked by awarded hours. Only the first two, with hours.
SELECT inst, sum(hrs_awd) FROM PropSub GROUP BY inst ORDER BY sum(hrs_awd) DESC LIMIT 2;
-- Grade A proposals: which ones, whose?
SELECT prop, pi_nm FROM PropSub WHERE grd = 'A';
-- Which proposals came away with nothing, no hours entered at all?
SELECT prop FROM PropSub WHERE hrs_awd IS NULL;
-- For every proposal that was awarded time, how many seconds have really been exposed? Include those with none yet as 0.
SELECT p.prop, coalesce(sum(e.secs), 0) FROM PropSub AS p LEFT JOIN expo AS e ON e.prop = p.prop WHERE p.hrs_awd IS NOT NULL GROUP BY p.prop;
-- How many nights were photometric, taking that as at most 5 percent cloud?
SELECT count(*) FROM nite WHERE cloud_pct <= 5;
-- Lost nights: those on which not a single frame was taken. Dates only.
SELECT nt FROM nite WHERE nt NOT IN (SELECT nt FROM expo);
-- Who observed on the night with the best (lowest) seeing?
SELECT obsvr FROM nite WHERE seeing IS NOT NULL ORDER BY seeing LIMIT 1;
-- Compare the observers: nights each had, and their mean seeing to two decimals.
SELECT obsvr, count(*), round(avg(seeing), 2) FROM nite GROUP BY obsvr;
-- Count dark, grey and bright nights, one row for each of these words. Dark is moon under 30, bright is 70 and up, grey in between.
SELECT CASE WHEN moon_pct < 30 THEN 'dark' WHEN moon_pct >= 70 THEN 'bright' ELSE 'grey' END, count(*) FROM nite GROUP BY 1;
-- Nights in March or April 2023 that had over 50 % cloud and yet some exposures.
SELECT n.nt FROM nite AS n WHERE n.nt BETWEEN '2023-03-01' AND '2023-04-30' AND n.cloud_pct > 50 AND EXISTS (SELECT 1 FROM expo AS e WHERE e.nt = n.nt);
-- Bad frames (flag BAD) as a percentage per instrument, whole numbers.
SELECT ins_cd, round(100.0 * sum("qa flag" = 'BAD') / count(*)) FROM expo GROUP BY ins_cd;
-- What's the longest exposure that came out OK with the instrument ECH?
SELECT max(secs) FROM expo WHERE ins_cd = 'ECH' AND "qa flag" = 'OK';
-- How often was each filter used with CCD cameras?
SELECT e.filt, count(*) FROM expo AS e JOIN instr AS i ON i.ins_cd = e.ins_cd WHERE i.ityp = 'CCD' GROUP BY e.filt;
-- Frames not charged to any proposal: number of them, and hours, one decimal.
SELECT count(*), round(sum(secs) / 3600, 1) FROM expo WHERE prop IS NULL;
-- Have any targets been observed through both the B and the V filter? Designations.
SELECT desig FROM tgt WHERE tgt_id IN (SELECT tgt_id FROM expo WHERE filt = 'B' INTERSECT SELECT tgt_id FROM expo WHERE filt = 'V');
-- Which targets were exposed on by six or more different instruments?
SELECT t.desig FROM expo AS e JOIN tgt AS t ON t.tgt_id = e.tgt_id GROUP BY t.tgt_id HAVING count(DISTINCT e.ins_cd) >= 6;
-- Telescope time by scope, as far as it was used: name, and hours exposed to one decimal. Most used first.
SELECT s.scp_nm, round(sum(e.secs) / 3600, 1) FROM expo AS e JOIN instr AS i ON i.ins_cd = e.ins_cd JOIN scope AS s ON s.scp = i.scp GROUP BY s.scp ORDER BY sum(e.secs) DESC;
-- Nobody wants airmass above 2. Did any galaxy get a frame there? Exposure numbers.
SELECT e.exp_no FROM expo AS e JOIN tgt AS t ON t.tgt_id = e.tgt_id WHERE t.cls = 'galaxy' AND e.airm > 2;
-- The night with the greatest total exposure time.
SELECT nt FROM expo GROUP BY nt ORDER BY sum(secs) DESC LIMIT 1;
-- On average, how many frames do we get on a night that has any?
SELECT avg(n) FROM (SELECT count(*) AS n FROM expo GROUP BY nt);
-- Sky north of 60 degrees declination, plus anything fainter than magnitude 15: which objects?
SELECT desig FROM tgt WHERE dec_deg > 60 OR vmag > 15;
